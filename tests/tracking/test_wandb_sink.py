"""Real W&B runs: offline ones are read back from disk, online ones talk to a server of the test's own."""

import json
import os
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from launcher.plan.spec import ForeignRun
from launcher.rundir import RunDir
from launcher.tracking.wandb_links import WandbLink, read_wandb_links
from tests.children import clean_environment, run_python
from tests.wandb_child import HURRIED, TO_THE_END, WORK, child, metrics, offline_run, run
from tests.wandb_files import history, records, table
from tests.wandb_server import KEY, serving

# --- offline ----------------------------------------------------------------------------------------------------------


IDENTITY = {"project": "p", "entity": "e", "group": "g", "job_type": "j", "tags": ["a", "b"], "notes": "why"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run with an identity and extras, logged offline to its end."""
    root = tmp_path_factory.mktemp("finished")
    run(root, TO_THE_END, mode="offline", log_extras={"interval": 2}, **IDENTITY)
    return root


def test_an_offline_run_has_the_same_metrics_as_the_metrics_file(finished: Path) -> None:
    logged = [(row["_step"], row["loss"], row["reward/mean"]) for row in history(offline_run(finished))]
    assert logged == [(line["step"], line["loss"], line["reward/mean"]) for line in metrics(finished)]
    assert len(logged) == 5


def test_the_run_has_the_identity_that_it_was_given(finished: Path) -> None:
    (record,) = [each.run for each in records(offline_run(finished)) if each.HasField("run")]
    assert (record.run_id, record.display_name, record.project, record.entity) == ("ab12", "calm-otter", "p", "e")
    assert (record.run_group, record.job_type, list(record.tags), record.notes) == ("g", "j", ["a", "b"], "why")


@pytest.mark.slow
def test_the_exit_code_is_handed_on(tmp_path: Path) -> None:
    run(tmp_path, WORK + "monitor.finish(7)", mode="offline")
    (record,) = [each.exit for each in records(offline_run(tmp_path)) if each.HasField("exit")]
    assert record.exit_code == 7


def test_extras_are_tables_every_so_many_steps_and_complete_ones_at_the_end(finished: Path) -> None:
    directory = offline_run(finished)
    rows = {row["_step"]: row for row in history(directory)}
    assert [step for step, row in rows.items() if "samples/path" in row] == [2, 4]
    samples = table(directory, {"path": rows[2]["samples/path"]})
    assert samples["columns"] == ["step", "prompt", "completion", "reward", "advantage"]
    assert samples["data"][1] == [2, "p1", "c", 0.25, -1]
    distributions = table(directory, {"path": rows[4]["distributions/path"]})
    assert distributions["columns"] == ["step", "reward", "entropy"]
    assert distributions["data"] == [[4, 0, 1.5], [4, 0.5, 2.5], [4, None, 3.5]]
    final = table(directory, {"path": rows[5]["final-samples/path"]})
    assert [row[0] for row in final["data"]] == [2, 2, 2, 4, 4, 4]
    assert len(table(directory, {"path": rows[5]["final-distributions/path"]})["data"]) == 6


@pytest.mark.parametrize(
    ("extras", "kinds"),
    [
        ({"enabled": False}, set()),
        pytest.param({"distributions": False}, {"samples", "final-samples"}, marks=pytest.mark.slow),
        pytest.param({"samples": False}, {"distributions", "final-distributions"}, marks=pytest.mark.slow),
    ],
)
def test_extras_that_are_switched_off_are_not_logged(tmp_path: Path, extras: dict[str, Any], kinds: set[str]) -> None:
    run(tmp_path, TO_THE_END, mode="offline", log_extras={"interval": 2, **extras})
    keys = {key.removesuffix("/path") for row in history(offline_run(tmp_path)) for key in row if key.endswith("/path")}
    assert keys == kinds


def test_of_two_ranks_one_has_a_wandb_run(tmp_path: Path) -> None:
    for rank in "1", "0":
        run(tmp_path, TO_THE_END, {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, mode="offline")
    assert len(history(offline_run(tmp_path))) == 5


def test_wandbs_variables_are_respected(tmp_path: Path) -> None:
    run(tmp_path, TO_THE_END, {"WANDB_PROJECT": "theirs", "WANDB_MODE": "offline", "WANDB_NOTES": "why"})
    (record,) = [each.run for each in records(offline_run(tmp_path)) if each.HasField("run")]
    assert (record.project, record.notes) == ("theirs", "why")


def test_the_directory_may_be_elsewhere(tmp_path: Path) -> None:
    run(tmp_path, TO_THE_END, mode="offline", dir=str(tmp_path / "else where"))
    assert offline_run(tmp_path / "else where").is_dir()


def test_an_uncaught_exception_is_on_the_console_once_and_marks_the_run_as_failed(tmp_path: Path) -> None:
    code = WORK.replace("sys.argv[1]", repr('{"mode": "offline"}')).replace("len(sys.argv) > 1", "True")
    result = run_python(code + "raise ValueError('boom')", tmp_path, **child(tmp_path))
    assert result.returncode == 1
    assert (result.stdout + result.stderr).count("ValueError: boom") == 1
    (record,) = [each.exit for each in records(offline_run(tmp_path)) if each.HasField("exit")]
    assert record.exit_code == 1


def test_nothing_is_asked_on_a_terminal(tmp_path: Path) -> None:
    """Without a login, with a terminal to ask on."""
    ours, theirs = os.openpty()
    config = json.dumps({"base_url": "http://127.0.0.1:1"})
    command = [sys.executable, "-c", TO_THE_END, config]
    env = clean_environment(tmp_path, **child(tmp_path, TERM="xterm"))
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the end of a terminal
            while block := os.read(ours, 65536):
                shown += block
    os.close(ours)
    assert process.returncode == 0
    assert b"No API key configured" in shown
    assert b"logging offline" in shown
    assert len(history(offline_run(tmp_path))) == 5


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_attempt_that_was_logged_offline_is_in_the_sync_command(tmp_path: Path) -> None:
    for attempt in "1", "2":
        run(tmp_path, TO_THE_END, {"LAUNCH_ATTEMPT": attempt}, mode="offline")
    (link,) = read_wandb_links(RunDir(tmp_path))
    first, second = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert link.sync_command == f"wandb sync {first} {second}"
    assert (link.name, link.id, link.url, link.directory) == ("calm-otter", "ab12", None, str(second))


def test_what_has_been_synced_since_is_not_in_the_sync_command(tmp_path: Path) -> None:
    (tmp_path / "run-1").mkdir()
    link = WandbLink("trainer", "n", "i", None, str(tmp_path / "run-1"), (str(tmp_path / "run-1"),))
    link.write(RunDir(tmp_path).wandb_link("trainer"))
    assert read_wandb_links(RunDir(tmp_path)) == [link]
    (tmp_path / "run-1" / "run-i.wandb.synced").touch()
    assert read_wandb_links(RunDir(tmp_path))[0].sync_command is None


def test_what_foreign_programs_have_logged_offline_is_found(tmp_path: Path) -> None:
    run, elsewhere = RunDir(tmp_path), tmp_path / "elsewhere" / "wandb"
    own = [run.wandb / f"offline-run-20261126_09150{number}-ab-12" for number in range(2)]
    free, told = run.wandb / "offline-run-20261126_091500-x-y", elsewhere / "offline-run-20261126_091500-cd34"
    for directory in (*own, free, told, elsewhere / "offline-run-20261126_091500-another"):
        directory.mkdir(parents=True)
    foreign = (
        ForeignRun("trainer", "otter", "ab-12", str(run.wandb)),
        ForeignRun("orchestrator", "heron", "cd34", str(elsewhere)),
        ForeignRun("inference", "badger", "none", str(elsewhere)),
    )
    found = [(link.component, link.name, link.sync_command) for link in read_wandb_links(run, foreign)]
    assert found == [
        ("trainer", "otter", f"wandb sync {own[0]} {own[1]}"),
        ("orchestrator", "heron", f"wandb sync {told}"),
        (None, "x-y", f"wandb sync {free}"),
    ]
    (free / "run-x-y.wandb.synced").touch()
    assert len(read_wandb_links(run, foreign)) == 2


@pytest.mark.parametrize("mode", ["offline", pytest.param("online", marks=pytest.mark.slow)])
def test_the_sync_command_uploads_the_run(tmp_path: Path, mode: str) -> None:
    """Offline, or online with a process that was killed in the middle."""
    killed = (
        "import glob, os, time\nwhile b'_step' not in open(*glob.glob('wandb/run-*/*.wandb'), 'rb').read():\n"
        "    time.sleep(0.01)\nos._exit(0)"
    )
    code = WORK + "work(range(1, 6))\n" + ("monitor.finish(0)" if mode == "offline" else killed)
    with serving() as server:
        run(tmp_path, code, {"WANDB_API_KEY": KEY}, base_url=server.url, mode=mode, log_extras={"enabled": False})
    (link,) = read_wandb_links(RunDir(tmp_path))
    with serving() as server:
        env = clean_environment(tmp_path, WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
        command = [Path(sys.executable).parent / "wandb", *shlex.split(link.sync_command or "")[1:]]
        subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, timeout=240, check=True)
        assert [row["_step"] for row in server.history()][:4] == [1, 2, 3, 4]
    assert read_wandb_links(RunDir(tmp_path))[0].sync_command is None


def test_a_link_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    RunDir(tmp_path).wandb.mkdir()
    RunDir(tmp_path).wandb_link("trainer").write_text('{"component": "trai')
    assert read_wandb_links(RunDir(tmp_path)) == []


# --- online -----------------------------------------------------------------------------------------------------------


def test_an_online_run_streams_its_metrics_and_its_exit_code(tmp_path: Path) -> None:
    with serving() as server:
        result = run(
            tmp_path,
            WORK + "work(range(1, 6))\nmonitor.finish(3)",
            {"WANDB_API_KEY": KEY},
            base_url=server.url,
            log_extras={"enabled": False},
        )
        assert [row["loss"] for row in server.history()] == [line["loss"] for line in metrics(tmp_path)]
        assert server.exit_codes() == [3]
        assert f"W&B run: {server.url}/team/prime-rl/runs/ab12" in result.stdout
        (link,) = read_wandb_links(RunDir(tmp_path))
        assert link.url == f"{server.url}/team/prime-rl/runs/ab12"
        assert link.sync_command is None


def test_a_stored_id_continues_the_same_run(tmp_path: Path) -> None:
    with serving() as server:
        run(tmp_path, TO_THE_END, {"WANDB_API_KEY": KEY}, base_url=server.url, log_extras={"enabled": False})
        assert [asked["name"] for asked in server.operations("RunResumeStatus")] == ["ab12"]
        assert {asked["name"] for asked in server.operations("UpsertBucket")} == {"ab12"}


def test_the_key_and_other_secrets_are_in_no_file(tmp_path: Path) -> None:
    with serving() as server:
        result = run(tmp_path, TO_THE_END, {"WANDB_API_KEY": KEY}, base_url=server.url, **HURRIED)
    everything = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(everything) > 5
    for secret in KEY, "s3cret":
        assert not any(secret.encode() in content for content in everything)
        assert secret not in result.stdout + result.stderr
