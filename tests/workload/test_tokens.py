import pytest

from launcher.workload.tokens import END, VOCABULARY, decode, encode, name, named


@pytest.mark.parametrize("text", ["", "hello>", "zwölf Bäume", "日本", "a\nb\0"])
def test_a_text_survives_encoding(text: str) -> None:
    assert decode([END, *encode(text), END]) == text


def test_every_token_is_recovered_from_its_name() -> None:
    assert [named(name(token)) for token in range(VOCABULARY)] == list(range(VOCABULARY))


@pytest.mark.parametrize("text", ["he", "", "é", "Ġthe"])
def test_a_token_of_another_vocabulary_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a token of one byte"):
        named(text)
