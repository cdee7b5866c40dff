"""Values of variables named like secrets are masked."""

import pytest

from launcher.secrets import MASK, is_masked, is_secret, masked, masked_value, masked_words


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
        "PGPASSWORD",
        "SSHPASS",
        "MYSQL_PWD",
        "SENTRY_DSN",
        "DSN",
        "trainer.api-key",
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
    [
        "PATH",
        "PWD",
        "OLDPWD",
        "PASSES",
        "MAX_TOKENS",
        "max_tokens",
        "TOKENIZER",
        "TOKENIZERS_PARALLELISM",
        "MONKEY",
        "KEYBOARD",
        "AUTHOR",
        "",
    ],
)
def test_names_that_only_look_like_it(name: str) -> None:
    assert not is_secret(name)


def test_texts_below_a_secrets_name_are_masked_at_any_depth_and_the_original_is_kept() -> None:
    values = {"env": {"HF_TOKEN": "abc", "MODE": "x"}, "tokens": [1], "key": {"inner": 3}, "seed": 0}
    assert masked(values) == {"env": {"HF_TOKEN": MASK, "MODE": "x"}, "tokens": [1], "key": {"inner": 3}, "seed": 0}
    assert values["env"] == {"HF_TOKEN": "abc", "MODE": "x"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("postgres://otter:hunter2@db:5432/runs", "postgres://otter:***@db:5432/runs"),
        ("redis://:hunter2@h", "redis://:***@h"),
        ("http://u:hunter@2@h/x http://v:hunter2@i", "http://u:***@h/x http://v:***@i"),
        ("https://h:8080/a@b", "https://h:8080/a@b"),
        ("git@h:a/b", "git@h:a/b"),
    ],
)
def test_a_password_in_a_url_is_masked_whatever_it_is_called(value: str, shown: str) -> None:
    assert masked_value("DATABASE_URL", value) == shown
    assert masked_words(["x", value]) == ["x", shown]
    assert masked({"a": [value]}) == {"a": [shown]}
    assert is_masked("DATABASE_URL", shown) is (value != shown)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--api-key", "hunter2", "x"], ["--api-key", "***", "x"]),
        (["--api-key", "--verbose"], ["--api-key", "--verbose"]),
        (["--trainer.env", "HF_TOKEN=hunter2"], ["--trainer.env", "HF_TOKEN=***"]),
        (["--trainer.env=HF_TOKEN=hunter2"], ["--trainer.env=HF_TOKEN=***"]),
        (["-c", "SSHPASS=hunter2 sshpass -e ssh x"], ["-c", "SSHPASS=***"]),
        (["-c", "exec env SSHPASS='hunter 2' ssh x"], ["-c", "exec env SSHPASS=***"]),
        (["--max-tokens", "5", "a=b"], ["--max-tokens", "5", "a=b"]),
    ],
)
def test_a_command_line_shows_no_secret(words: list[str], shown: list[str]) -> None:
    assert masked_words(words) == shown
