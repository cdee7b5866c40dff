"""What is decided about W&B before anything starts: settings, the runs' names, the login."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from launcher.config.wandb import LogExtrasConfig, WandbConfig, over_environment
from launcher.errors import UserError
from launcher.machine.wandb_login import is_logged_in
from launcher.plan.wandb_runs import wandb_run

KEY = "0123456789" * 4


def planned(kind: Any, component: str, general: WandbConfig, own: WandbConfig | None = None) -> WandbConfig:
    return wandb_run(kind, component, "calm-otter", general, own or WandbConfig(), run_id="ab12", logged_in=True)


# --- settings ---------------------------------------------------------------------------------------------------------


def test_it_is_off_by_default_and_logs_to_prime_rl() -> None:
    assert not WandbConfig().is_on
    assert WandbConfig().project == "prime-rl"


def test_disabled_is_off() -> None:
    assert not WandbConfig(enabled=True, mode="disabled").is_on


@pytest.mark.parametrize("interval", [0, -1])
def test_an_interval_that_is_not_positive_is_refused(interval: int) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        LogExtrasConfig(interval=interval)


@pytest.mark.parametrize("field", [{"mode": "shared"}, {"id": "a/b"}, {"id": ""}, {"base_url": "wandb.local"}])
def test_what_wandb_would_refuse_later_is_refused_now(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WandbConfig(**field)


def test_wandbs_variables_fill_the_fields_that_are_not_set() -> None:
    environ = {
        "WANDB_ENTITY": "team",
        "WANDB_PROJECT": "mine",
        "WANDB_NAME": "n",
        "WANDB_RUN_GROUP": "g",
        "WANDB_JOB_TYPE": "j",
        "WANDB_TAGS": "a, b",
        "WANDB_NOTES": "why",
        "WANDB_MODE": "dryrun",
        "WANDB_RUN_ID": "id1",
        "WANDB_DIR": "/tmp/w",
        "WANDB_BASE_URL": "http://w:8080",
    }
    expected = {"entity": "team", "project": "mine", "name": "n", "group": "g", "job_type": "j", "tags": ("a", "b")}
    expected |= {"notes": "why", "mode": "offline", "id": "id1", "dir": Path("/tmp/w"), "base_url": "http://w:8080"}
    assert over_environment(WandbConfig(), environ).model_dump(exclude_unset=True) == expected


def test_a_field_wins_over_its_variable() -> None:
    assert over_environment(WandbConfig(project="mine"), {"WANDB_PROJECT": "theirs"}).project == "mine"


def test_a_mode_of_the_environment_that_we_do_not_have_is_a_users_error() -> None:
    with pytest.raises(UserError, match="WANDB_MODE=shared is not supported\n  allowed: online, offline, disabled"):
        over_environment(WandbConfig(), {"WANDB_MODE": "shared"})


@pytest.mark.parametrize("variable", [("WANDB_RUN_ID", "a b"), ("WANDB_BASE_URL", "localhost")])
def test_a_variable_that_wandb_would_refuse_is_a_users_error_that_names_it(variable: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=f"^{variable[0]}: "):
        over_environment(WandbConfig(), dict([variable]))


# --- names ------------------------------------------------------------------------------------------------------------


def test_sft_has_one_run_with_the_runs_own_name() -> None:
    run = planned("sft", "trainer", WandbConfig(enabled=True))
    assert (run.name, run.group, run.job_type, run.id) == ("calm-otter", None, None, "ab12")


def test_sft_takes_the_name_and_the_project_that_are_asked_for() -> None:
    run = planned("sft", "trainer", WandbConfig(enabled=True, name="my-run", project="my-project"))
    assert (run.name, run.project) == ("my-run", "my-project")


@pytest.mark.parametrize("component", ["trainer", "orchestrator"])
def test_rl_has_two_runs_in_one_group_with_job_types(component: str) -> None:
    run = planned("rl", component, WandbConfig(enabled=True))
    assert (run.name, run.group, run.job_type) == (f"calm-otter-{component}", "calm-otter", component)


def test_a_name_for_both_runs_is_their_group_and_the_start_of_their_names() -> None:
    run = planned("rl", "trainer", WandbConfig(enabled=True, name="mine", id="id1"))
    assert (run.name, run.group, run.id) == ("mine-trainer", "mine", "id1-trainer")


def test_what_a_component_sets_for_itself_wins() -> None:
    own = WandbConfig(name="exact", project="other", id="id9", job_type="j")
    run = planned("rl", "trainer", WandbConfig(enabled=True, name="mine", tags=("a",)), own)
    assert (run.name, run.group, run.project, run.id, run.job_type) == ("exact", "mine", "other", "id9", "j")
    assert run.tags == ("a",)


def test_a_component_may_be_the_only_one_with_wandb() -> None:
    assert planned("rl", "trainer", WandbConfig(), WandbConfig(enabled=True)).is_on
    assert not planned("rl", "orchestrator", WandbConfig(), WandbConfig()).is_on


# --- the login --------------------------------------------------------------------------------------------------------


def modes(mode: Any, logged_in: bool) -> str | None:
    general = WandbConfig(enabled=True, mode=mode)
    return wandb_run("sft", "trainer", "n", general, WandbConfig(), run_id="i", logged_in=logged_in).mode


def test_without_a_login_it_goes_on_offline() -> None:
    assert modes(None, logged_in=False) == "offline"
    assert modes(None, logged_in=True) is None
    assert modes("offline", logged_in=True) == "offline"


def test_online_without_a_login_is_a_users_error_that_says_how_to_log_in() -> None:
    with pytest.raises(UserError, match=r"nobody is logged in to W&B\n  log in with `wandb login`, set WANDB_API_KEY"):
        modes("online", logged_in=False)


def test_off_needs_no_login() -> None:
    general = WandbConfig(mode="online")
    assert not wandb_run("sft", "trainer", "n", general, WandbConfig(), run_id="i", logged_in=False).is_on


@pytest.mark.parametrize(
    ("machine", "base_url", "expected"),
    [
        ("api.wandb.ai", None, True),
        ("api.forge.coreweave.com", None, True),
        ("api.wandb.ai", "http://wandb.local:8080", False),
        ("wandb.local:8080", "http://wandb.local:8080", True),
        ("github.com", None, False),
    ],
)
def test_a_netrc_is_a_login_for_its_own_server(
    tmp_path: Path, machine: str, base_url: str | None, expected: bool
) -> None:
    (tmp_path / "netrc").write_text(f"machine {machine}\n  login user\n  password {KEY}\n")
    environ = {"NETRC": str(tmp_path / "netrc"), "WANDB_CONFIG_DIR": str(tmp_path)}
    assert is_logged_in(WandbConfig(base_url=base_url), environ) is expected


def test_a_key_in_the_environment_is_a_login(tmp_path: Path) -> None:
    environ = {"NETRC": str(tmp_path / "none"), "WANDB_CONFIG_DIR": str(tmp_path)}
    assert is_logged_in(WandbConfig(), environ | {"WANDB_API_KEY": KEY})
    assert not is_logged_in(WandbConfig(), environ | {"WANDB_API_KEY": ""})


def test_the_server_that_wandb_login_has_saved_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text(f"machine wandb.local login user password {KEY}\n")
    (tmp_path / "settings").write_text("[default]\nbase_url = https://wandb.local\n")
    assert is_logged_in(WandbConfig(), {"NETRC": str(tmp_path / "netrc"), "WANDB_CONFIG_DIR": str(tmp_path)})


def test_a_netrc_that_cannot_be_read_is_no_login(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine\n")
    assert not is_logged_in(WandbConfig(), {"NETRC": str(tmp_path / "netrc"), "WANDB_CONFIG_DIR": str(tmp_path)})


@pytest.mark.parametrize("name", ["netrc", "settings"])
def test_a_file_that_is_not_utf_8_is_no_login(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe")
    assert not is_logged_in(WandbConfig(), {"NETRC": str(tmp_path / "netrc"), "WANDB_CONFIG_DIR": str(tmp_path)})
