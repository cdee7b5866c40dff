"""Between the task's texts and the model's tokens: prompts are tokenized here and nowhere else."""

from collections.abc import Iterable

from launcher.errors import UserError
from launcher.workload.models.tokenizer import Tokenizer, load_tokenizer
from launcher.workload.tasks import Prompt


class Texts:
    """Loading it imports `transformers`, which takes seconds."""

    def __init__(self, model: str) -> None:
        """Raises UserError when there is no tokenizer beside the model."""
        self.model, self.tokenizer = model, load_tokenizer(model)

    def tokens(self, prompt: Prompt) -> list[int]:
        """The tokens of a prompt; chat messages by the model's template, up to where the assistant's turn begins.

        Raises UserError when messages have no template, or one that refuses them.
        """
        tokenizer: Tokenizer = self.tokenizer
        if isinstance(prompt, str):
            return list(tokenizer(prompt).input_ids)
        if tokenizer.chat_template is None:
            hint = "give prompts as text, or use a chat model"
            raise UserError(f"prompts are chat messages, but the tokenizer of {self.model} has no chat template", hint)
        try:
            filled = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)
        except Exception as error:  # whatever the template's own code raises
            raise UserError(f"the chat template of {self.model} refuses the messages {prompt}: {error}") from error
        return list(filled["input_ids"])

    def longest(self, prompts: Iterable[Prompt]) -> tuple[int, Prompt]:
        """The longest of the prompts, and its length in tokens."""
        return max(
            ((len(self.tokens(prompt)), prompt) for prompt in prompts), key=lambda pair: pair[0], default=(0, "")
        )

    def text(self, completion: list[int]) -> str:
        """What a completion says, without special tokens such as its end."""
        return str(self.tokenizer.decode(completion, skip_special_tokens=True))
