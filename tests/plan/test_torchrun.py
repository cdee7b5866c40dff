"""torchrun's command line, held against torchrun's own parser."""

import argparse
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

from launcher.config.torchrun import TorchrunConfig
from launcher.errors import UserError
from launcher.plan.spec import Ranks
from launcher.plan.torchrun import PLANNED, plan_ranks, redirected, torchrun_argv

NOT_FIELDS = {"nproc-per-node", "module", "no-python", "run-path", "standalone", "help"}
"""What torchrun has and the plan decides, or what the user says otherwise."""

LOG_DIR = Path("/logs")


def ranks_of(nproc: int = 2, **settings: object) -> Ranks:
    return plan_ranks(TorchrunConfig.model_validate(settings), nproc, LOG_DIR, "otter-1")


def parsed(config: TorchrunConfig, ranks: Ranks, *program: str) -> argparse.Namespace:
    """What torchrun itself makes of our command line."""
    argv = torchrun_argv("/python", config, ranks, program or ("train.py",))
    assert argv[:3] == ("/python", "-m", "torch.distributed.run")
    return get_args_parser().parse_args(list(argv[3:]))


def torchruns_options() -> set[str]:
    options = {option for action in get_args_parser()._actions for option in action.option_strings}
    return {option[2:].replace("_", "-") for option in options if option.startswith("--")}


def test_every_option_of_torchrun_is_a_field_and_every_field_an_option() -> None:
    fields = {name.replace("_", "-") for name in TorchrunConfig.model_fields}
    assert torchruns_options() - NOT_FIELDS == fields


VALUES = {
    "nnodes": "1:2",
    "node_rank": 1,
    "rdzv_backend": "static",
    "rdzv_endpoint": "node0:29400",
    "rdzv_conf": "timeout=900,read_timeout=60",
    "max_restarts": 3,
    "monitor_interval": 0.5,
    "start_method": "fork",
    "event_log_handler": "null",
    "role": "a role",
    "redirects": "0:3,1:1",
    "tee": "0:3",
    "duplicate_stdout_filters": "a,b",
    "duplicate_stderr_filters": "c",
    "master_addr": "node0",
    "master_port": 29500,
    "local_addr": "10.0.0.1",
    "logs_specs": "default",
    "numa_binding": "socket",
    "signals_to_handle": "SIGTERM,SIGUSR1",
    "shutdown_timeout": 7,
    "virtual_local_rank": True,
}


def test_the_table_of_values_has_every_field_that_is_passed_on() -> None:
    assert set(VALUES) == set(TorchrunConfig.model_fields) - PLANNED


@pytest.mark.parametrize("name", VALUES)
def test_torchrun_reads_each_field_as_it_was_set(name: str) -> None:
    config = TorchrunConfig.model_validate({name: VALUES[name]})
    read = getattr(parsed(config, ranks_of()), name)
    assert str(",".join(read) if isinstance(read, list) else read) == str(VALUES[name])


def test_torchrun_reads_what_the_plan_decides() -> None:
    arguments = parsed(TorchrunConfig(), ranks_of(4, local_ranks_filter="0,2"))
    assert arguments.nproc_per_node == "4"
    assert (arguments.rdzv_id, arguments.log_dir) == ("otter-1", "/logs")
    assert arguments.local_ranks_filter == "0,2"


def test_torchrun_gets_no_option_that_nobody_set() -> None:
    argv = torchrun_argv("/python", TorchrunConfig(), ranks_of(), ("train.py",))
    assert not [word for word in argv if "None" in word or "False" in word]
    assert "--virtual-local-rank" not in argv


@pytest.mark.parametrize(
    ("program", "module", "script", "arguments"),
    [
        (("-m", "my.train", "@", "x.toml"), True, "my.train", ["@", "x.toml"]),
        (("train.py", "--nproc-per-node", "9", "-h", ""), False, "train.py", ["--nproc-per-node", "9", "-h", ""]),
    ],
)
def test_the_programs_own_arguments_are_left_to_it(
    program: tuple[str, ...], module: bool, script: str, arguments: list[str]
) -> None:
    found = parsed(TorchrunConfig(), ranks_of(), *program)
    assert (found.module, found.training_script, found.training_script_args) == (module, script, arguments)
    assert found.nproc_per_node == "2"


# --- ranks and their files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"local_ranks_filter": "2"}, "--filter-rank 2: rank 2 does not exist; there are 2 ranks, 0 to 1"),
        ({"local_ranks_filter": "0,9"}, "--filter-rank 0,9: rank 9 does not exist"),
        ({"local_ranks_filter": "-1"}, "--filter-rank -1: rank -1 does not exist"),
        ({"redirects": "0:3,2:1"}, "--redirects 0:3,2:1: rank 2 does not exist"),
        ({"tee": "5:3"}, "--tee 5:3: rank 5 does not exist"),
    ],
)
def test_a_rank_that_does_not_exist_is_refused(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        ranks_of(2, **settings)


def test_with_one_rank_the_message_says_so() -> None:
    with pytest.raises(UserError, match="there is one rank, 0"):
        ranks_of(1, local_ranks_filter="1")


@pytest.mark.parametrize(("listed", "shown"), [("0", (0,)), ("1,3", (1, 3)), ("", (0, 1, 2, 3))])
def test_an_empty_filter_shows_all_ranks(listed: str, shown: tuple[int, ...]) -> None:
    assert ranks_of(4, local_ranks_filter=listed).shown == shown


@pytest.mark.parametrize(
    ("tee", "redirects", "listed", "empty"),
    [
        ("3", "3", "0", False),
        ("0", "3", "0", True),
        ("0", "0", "0", False),
        ("0", "1", "0", False),  # stderr still reaches the console
        ("1", "3", "0", False),
        ("1:3", "3", "0", True),  # only a rank that is not shown is teed
        ("1:3", "3", "0,1", False),
        ("0", "1:3", "0", False),
    ],
)
def test_the_console_is_empty_when_what_is_shown_is_redirected_and_not_teed(
    tee: str, redirects: str, listed: str, empty: bool
) -> None:
    assert ranks_of(2, tee=tee, redirects=redirects, local_ranks_filter=listed).console_is_empty is empty


@pytest.mark.parametrize(
    ("redirects", "tee", "file"),
    [
        ("3", "3", "stdout.log"),
        ("1", "0", "stdout.log"),
        ("2", "0", "stderr.log"),
        ("0", "2", "stderr.log"),
        ("1", "2", "stdout.log"),
        ("0", "0", None),
        ("1:3", "0", "stdout.log"),
        ("0:3", "0", None),
    ],
)
def test_a_ranks_file_is_where_torchrun_writes_it(redirects: str, tee: str, file: str | None) -> None:
    config = TorchrunConfig(redirects=redirects, tee=tee)
    expected = Path("/logs/otter-1/attempt_0/1", file) if file else None
    assert redirected(config, ranks_of(), 1) == expected
