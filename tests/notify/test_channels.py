"""How a message gets to people, and what is said when it does not."""

import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from launcher.borders.masking import MASK, masked_value, masked_words
from launcher.config.notify import WEBHOOK, NotifyConfig
from launcher.config.run import SFTConfig
from launcher.config.toml import to_toml
from launcher.errors import UserError
from launcher.notify import channels as module
from launcher.notify.channels import Message, NotSent, body_for, channels, check_channels
from tests.notify.webhook import webhook
from tests.plans import sft, typed

MESSAGE = Message("otter", "failed", "sft run otter: failed", "trainer rank 1: exit code 3\nlaunch status otter")
SLACK = "https://hooks.slack.com/services/T0/B0/sesame"
DISCORD = "https://discord.com/api/webhooks/1/sesame"


def on(**settings: Any) -> NotifyConfig:
    return NotifyConfig(enabled=True, **settings)


def test_a_webhook_gets_title_and_text_as_json() -> None:
    with webhook() as server:
        [channel] = channels(on(webhook=server.url), {})
        channel.send(MESSAGE)
    assert server.came == [{"text": f"{MESSAGE.title}\n{MESSAGE.text}", "run": "otter", "event": "failed"}]
    assert channel.name == "the webhook at 127.0.0.1"


def test_slack_and_discord_get_what_they_know_and_a_text_calls_nobody() -> None:
    message = Message("otter", "failed", "a <!channel> & @everyone", "x" * 5000)
    slack, discord = body_for(SLACK, message), body_for(DISCORD, message)
    assert slack.keys() == {"text"} and str(slack["text"]).startswith("a &lt;!channel&gt; &amp; @everyone\nx")
    assert discord.keys() == {"content", "allowed_mentions"} and discord["allowed_mentions"] == {"parse": []}
    assert len(str(discord["content"])) < 2000


@pytest.mark.parametrize("status", [404, 500, 503])
def test_an_error_of_the_server_is_its_number_without_the_url(status: int) -> None:
    with webhook(status) as server, pytest.raises(NotSent) as raised:
        channels(on(webhook=server.url), {})[0].send(MESSAGE)
    assert str(raised.value) == f"it answered {status}"


def test_a_server_that_refuses_or_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody, pytest.raises(NotSent, match="Connection refused"):
        nobody.bind(("127.0.0.1", 0))  # has the port, and does not listen
        channels(on(webhook=f"http://127.0.0.1:{nobody.getsockname()[1]}/sesame"), {})[0].send(MESSAGE)
    monkeypatch.setattr(module, "SECONDS", 0.2)
    with webhook(0) as server, pytest.raises(NotSent, match=r"^no answer within 0\.2s$"):
        channels(on(webhook=server.url), {})[0].send(MESSAGE)


@pytest.mark.parametrize("url", ["http://", "http://[", "http://a b/sesame", "http://127.0.0.1:99999/sesame"])
def test_no_error_has_the_url_in_it(url: str) -> None:
    try:
        [channel] = channels(on(webhook=url), {})
    except ValueError:
        return
    with pytest.raises(NotSent) as raised:
        channel.send(MESSAGE)
    assert "sesame" not in str(raised.value)


def test_the_desktop_is_told_by_notify_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "notify-send"
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" > "{tmp_path}/shown"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    [channel] = channels(on(desktop=True), {})
    channel.send(MESSAGE)
    assert (tmp_path / "shown").read_text() == f"--app-name=launch|--|{MESSAGE.title}|{MESSAGE.text}|"
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(NotSent, match="notify-send is not installed"):
        channel.send(MESSAGE)


def test_apprise_takes_its_urls() -> None:
    with webhook() as server:
        [channel] = channels(on(apprise=server.url.replace("http://", "json://")), {})
        channel.send(MESSAGE)
    assert server.came[0]["title"] == MESSAGE.title
    with pytest.raises(NotSent):
        channels(on(apprise="nonsense"), {})[0].send(MESSAGE)


def test_apprise_that_is_missing_is_said_before_the_run_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs the package apprise"):
        list(check_channels(on(apprise="tgram://1/2"), {}))


def test_urls_come_from_the_environment_where_the_file_has_none_or_a_masked_one() -> None:
    variables = {"LAUNCH_NOTIFY_WEBHOOK": SLACK}
    for config in (on(), on(webhook=MASK)):
        assert [channel.name for channel in channels(config, variables)] == ["the webhook at hooks.slack.com"]
        assert list(check_channels(config, variables)) == []
    assert channels(on(webhook=MASK), {}) == []
    assert "is masked in the file and not used" in next(check_channels(on(webhook=MASK), {}))
    assert "nothing says where to" in next(check_channels(on(), {}))
    assert channels(NotifyConfig(webhook=SLACK), variables) == [], "it is off"


def test_secrets_are_masked_wherever_a_configuration_or_a_command_line_is_shown() -> None:
    config = sft("--notify.webhook", SLACK, "--notify.apprise", "tgram://sesame/1")
    text = to_toml(config)
    assert "sesame" not in text and text.count(MASK) == 2
    words = [
        "launch",
        "sft",
        "--notify.webhook",
        SLACK,
        f"--notify.webhook={DISCORD}",
        "--notify.apprise",
        "x://sesame",
    ]
    assert "sesame" not in " ".join(masked_words(words))
    assert "sesame" not in masked_value("", f"posted to {SLACK} and {DISCORD}")
    assert masked_value("SLACK_WEBHOOK_URL", "x") == MASK


@pytest.mark.parametrize("url", ["https://[x/sesame", "hooks.slack.com/sesame", "https:///sesame"])
def test_a_url_that_is_none_is_refused_before_the_start_without_being_shown(url: str) -> None:
    with pytest.raises(UserError, match=f"{WEBHOOK}: not a URL") as refused:
        list(check_channels(on(), {WEBHOOK: url}))
    with pytest.raises(ValueError, match="not a URL") as invalid:
        on(webhook=url)
    assert "sesame" not in str(refused.value) and "not a URL" in str(invalid.value)


def test_a_host_whose_name_only_ends_like_slacks_gets_what_any_other_does() -> None:
    assert set(body_for("https://notslack.com/x", MESSAGE)) == {"text", "run", "event"}


def test_a_wrong_url_is_refused_without_being_shown() -> None:
    with pytest.raises(UserError) as refused:
        typed(SFTConfig, "--notify.webhook", "ftp://sesame")
    assert "not a URL that begins with https://" in str(refused.value) and "sesame" not in str(refused.value)
