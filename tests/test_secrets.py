"""Values of variables named like secrets are masked."""

import pytest

from launcher.secrets import MASK, is_secret, masked


@pytest.mark.parametrize(
    "name",
    [
        "WANDB_API_KEY",
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SESSION_TOKEN",
        "OPENAI_APIKEY",
        "GITHUB_TOKEN",
        "DB_PASSWORD",
        "MYSQL_PASSWD",
        "SSH_PASSPHRASE",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "AUTHORIZATION",
        "api-key",
        "token",
        "key",
    ],
)
def test_names_that_are_likely_to_hold_a_secret(name: str) -> None:
    assert is_secret(name)
    assert is_secret(name.lower())


@pytest.mark.parametrize(
    "name",
    ["PATH", "MAX_TOKENS", "max_tokens", "TOKENIZER", "TOKENIZERS_PARALLELISM", "MONKEY", "KEYBOARD", "AUTHOR", ""],
)
def test_names_that_only_look_like_it(name: str) -> None:
    assert not is_secret(name)


def test_texts_below_a_secrets_name_are_masked_at_any_depth_and_the_original_is_kept() -> None:
    values = {"env": {"HF_TOKEN": "abc", "MODE": "x"}, "tokens": [1], "key": {"inner": 3}, "seed": 0}
    assert masked(values) == {"env": {"HF_TOKEN": MASK, "MODE": "x"}, "tokens": [1], "key": {"inner": 3}, "seed": 0}
    assert values["env"] == {"HF_TOKEN": "abc", "MODE": "x"}
