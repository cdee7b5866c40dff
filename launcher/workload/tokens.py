"""Text to tokens and back: the 256 bytes, and one more token that begins and ends every text.

A token is a byte of the text's UTF-8, so a text has exactly one tokenisation, and the tokens of a completion can be
read off the OpenAI protocol, which only speaks of text.
"""

END = 256  # begins every prompt, ends every completion
VOCABULARY = 257
END_TEXT = "<|end|>"


def encode(text: str) -> list[int]:
    """The text's bytes, without END."""
    return list(text.encode())


def decode(tokens: list[int]) -> str:
    """The text of some tokens; END has none, and what is no UTF-8 becomes U+FFFD."""
    return bytes(token for token in tokens if token != END).decode(errors="replace")


def name(token: int) -> str:
    """How the OpenAI protocol spells a token: its character, or `bytes:\\xNN` where the byte alone is none."""
    if token == END:
        return END_TEXT
    return chr(token) if token < 128 else f"bytes:\\x{token:02x}"


def named(text: str) -> int:
    """The token that `name` spells so. Raises ValueError for the tokens of other vocabularies."""
    if text == END_TEXT:
        return END
    if len(text) == 1 and ord(text) < 128:
        return ord(text)
    if text.startswith("bytes:\\x"):
        return int(text.removeprefix("bytes:\\x"), 16)
    raise ValueError(f"{text!r} is not a token of one byte")
