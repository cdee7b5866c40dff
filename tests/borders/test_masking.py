"""Values of variables named like secrets are masked."""

import time

import pytest

from launcher.borders.masking import MASK, is_masked, is_secret, masked, masked_line, masked_value, masked_words


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
        ("https://ghp_hunter2@github.com/x/y.git", "https://***@github.com/x/y.git"),
        ("git+https://hunter2@h/x@v1", "git+https://***@h/x@v1"),
        ("HTTPS://0123abcd@o1.ingest.sentry.io/1", "HTTPS://***@o1.ingest.sentry.io/1"),
        ("see https://h/x and https://hunter2@h", "see https://h/x and https://***@h"),
        ("Authorization: Bearer hunter2", "Authorization: Bearer ***"),
        ("authorization: basic b3R0ZXI6aHVudGVyMg==", "authorization: basic ***"),
        ("Authorization: hunter 2", "Authorization: ***"),
        ("Authorization:hunter2", "Authorization:***"),
        ("Proxy-Authorization: Basic hunter2=", "Proxy-Authorization: Basic ***"),
        ("X-Api-Key: hunter2", "X-Api-Key: ***"),
        ("x-goog-api-key: hunter2", "x-goog-api-key: ***"),
        ("PRIVATE-TOKEN: hunter2", "PRIVATE-TOKEN: ***"),
        ("X-Vault-Token: hunter2", "X-Vault-Token: ***"),
        ("Cookie: session=hunter2; b=c", "Cookie: ***"),
        ("Bearer hunter2", "Bearer ***"),
        ('{"Authorization": "Bearer hunter2", "b": 1}', '{"Authorization": "Bearer ***", "b": 1}'),
        ("{'x-api-key': 'hunter2'}", "{'x-api-key': '***'}"),
        ("curl -H 'Authorization: Bearer hunter2' http://h", "curl -H 'Authorization: Bearer ***' http://h"),
    ],
)
def test_a_secret_in_a_text_is_masked_whatever_it_is_called(value: str, shown: str) -> None:
    assert masked_value("DATABASE_URL", value) == shown
    assert masked_words(["x", value]) == ["x", shown]
    assert masked({"a": [value]}) == {"a": [shown]}
    assert is_masked("DATABASE_URL", shown) is (value != shown)


@pytest.mark.parametrize(
    "text",
    [
        "git@github.com:x/y",
        "ssh://git@host/x",
        "ssh://otter@host",
        "git+ssh://git@github.com/x/y.git",
        "git+https://git@github.com/x/y.git",
        "postgres://otter@db/runs",
        "https://h/a?mail=a@b.c",
        "https://h#a@b",
        "ask otter@example.com, or see http://example.com",
        "the bearer of this, Bearer tokens and authorization are explained at https://h",
        "pad-token: <eos>",
        "key: value, token: 5",
        "author: otter",
        "monkey: 3",
        "http://127.0.0.1:8000/health",
    ],
)
def test_what_only_looks_like_a_secret_in_a_text_is_kept(text: str) -> None:
    assert masked_value("X", text) == text
    assert masked_words(["x", text]) == ["x", text]
    assert not is_masked("X", text)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--header", "Authorization: Bearer hunter2", "x"], ["--header", "Authorization: Bearer ***", "x"]),
        (["--header=Authorization: Bearer hunter2=="], ["--header=Authorization: Bearer ***"]),
        (["-HAuthorization: Bearer hunter2"], ["-HAuthorization: Bearer ***"]),
        (["-H", "X-Api-Key:hunter2"], ["-H", "X-Api-Key:***"]),
        (["--authorization", "Bearer hunter2"], ["--authorization", "***"]),
        (["--bearer", "hunter2"], ["--bearer", "***"]),
        (
            ["--trainer.env", "HEADER=Authorization: Bearer hunter2"],
            ["--trainer.env", "HEADER=Authorization: Bearer ***"],
        ),
        (["--url=https://hunter2@h/x"], ["--url=https://***@h/x"]),
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


@pytest.mark.parametrize(
    "piece", ["a", "a-", "x-", "https://", "Bearer ", "Cookie:", 'a="', "Authorization ", "://a:", "a=", "-=", "'"]
)
def test_a_long_word_takes_no_time(piece: str) -> None:
    """Another process's command line is shown, and may have been made for this."""
    began = time.process_time()
    masked_words([piece * (20_000 // len(piece))])
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"db_password": "hunter2 and more", "b": 1}', '{"db_password": "***", "b": 1}'),
        ("db_password = 'hunter2 \\' and more'", "db_password = '***'"),
        ('{"Authorization": "Bearer hunter2"}', '{"Authorization": "Bearer ***"}'),
        ("""{"message": "settings {'api_key': 'hunter2'}"}""", """{"message": "settings {'api_key': '***'}"}"""),
        ("""config: "{'api_key': 'hunter2'}\"""", """config: "{'api_key': '***'}\""""),
        (r'{"message": "{\"api_key\": \"hunter2\"}"}', r'{"message": "{\"api_key\": \"***\"}"}'),
        ("""note: 'x password: "hunter2\"""", """note: 'x password: "***\""""),
        ('password = "hunter***2"', 'password = "***"'),
    ],
)
def test_a_quoted_secret_is_masked_to_its_end(line: str, shown: str) -> None:
    assert masked_line(line) == shown
