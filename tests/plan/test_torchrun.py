"""torchrun's command line, held against torchrun's own parser."""

import argparse
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.run import get_args_parser

from launcher.config.base import Section
from launcher.config.run import RLConfig, SFTConfig
from launcher.config.torchrun import TorchrunConfig
from launcher.errors import UserError
from launcher.options.fields import Form, config_fields
from launcher.options.flags import option_names
from launcher.plan.spec import Ranks
from launcher.plan.torchrun import PLANNED, WITHIN, plan_ranks, redirected, torchrun_argv
from tests.plans import machine, plan_of, sft

NOT_FIELDS = {"nproc-per-node", "module", "help"}
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
    "local_addr": "10.0.0.1",
    "logs_specs": "default",
    "numa_binding": "socket",
    "signals_to_handle": "SIGTERM,SIGUSR1",
    "shutdown_timeout": 7,
    "virtual_local_rank": True,
    "no_python": True,
    "run_path": True,
}


def test_the_table_of_values_has_every_field_that_is_passed_on() -> None:
    assert set(VALUES) == set(TorchrunConfig.model_fields) - PLANNED - WITHIN


@pytest.mark.parametrize("model", [RLConfig, SFTConfig])
def test_every_option_of_torchrun_is_typed_by_its_own_name(model: type[Section]) -> None:
    typed = {name: field for field in config_fields(model) for name in option_names(field)}
    for action in get_args_parser()._actions:
        names = [option[2:].replace("_", "-") for option in action.option_strings if option.startswith("--")]
        if not names or names[0] in ("help", "module"):
            continue
        field = typed[names[0]] if names[0] != "max-restarts" else typed["trainer.torchrun.max-restarts"]
        assert (action.nargs == 0) is (field.shape is Form.FLAG), names
        for alias in names:
            assert typed.get(alias, field).path[0] == "trainer" or alias == "max-restarts", alias


def flags_of(*options: str, **facts: Any) -> argparse.Namespace:
    """What torchrun itself makes of the trainer's command line."""
    argv = plan_of(sft("--trainer.script", "train.py", *options), machine(**facts)).processes[0].argv
    return get_args_parser().parse_args(list(argv[3:]))


@pytest.mark.parametrize("name", sorted(VALUES.keys() - {"nnodes", "node_rank"}))  # of those, see test_nodes.py
def test_an_option_that_is_typed_reaches_torchruns_command_line(name: str) -> None:
    value = VALUES[name]
    read = getattr(
        flags_of(f"--trainer.torchrun.{name}", *([] if value is True else [str(value)]), "--nproc", "2"), name
    )
    assert str(",".join(read) if isinstance(read, list) else read) == str(value)


@pytest.mark.parametrize(
    ("options", "endpoint"),
    [
        (("--master-addr", "gpu01", "--master_port", "4000"), "gpu01:4000"),
        (("--master_addr=gpu01",), "gpu01:29500"),
        (("--master-port", "4000"), "127.0.0.1:4000"),
        (("--master-addr", "fd00::1", "--master-port", "4000"), "[fd00::1]:4000"),
        (("--rdzv-backend", "static"), "127.0.0.1:29500"),
        (
            (
                "--rdzv-endpoint",
                "gpu01:4000",
                "--master-addr",
                "gpu01",
                "--master-port",
                "4000",
                "--rdzv-backend=static",
            ),
            "gpu01:4000",
        ),
    ],
)
def test_master_addr_and_port_are_the_endpoint_of_a_static_rendezvous(options: tuple[str, ...], endpoint: str) -> None:
    found = flags_of(*options)
    assert (found.rdzv_backend, found.rdzv_endpoint) == ("static", endpoint)


def test_on_one_node_the_rendezvous_is_on_a_free_port_and_standalone_asks_for_just_that() -> None:
    ignored = ("--standalone", "--master_port=4000")  # by torchrun too
    for options in ((), ("--standalone",), ignored, ("--standalone", "--nnodes=1:1", "--nproc_per_node=2")):
        found = flags_of(*options)
        assert (found.rdzv_backend, found.rdzv_endpoint, found.standalone) == ("c10d", "localhost:0", False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--standalone", "--nnodes", "2"), "standalone is for one node"),
        (("--standalone", "--rdzv-endpoint", "a:1"), "standalone is for one node"),
        (("--nnodes", "4:1"), "MIN:MAX is the other way round: 1:4"),
        (("--rdzv-endpoint", "a:1", "--master-addr", "b"), "rdzv_endpoint a:1 and at b:29500"),
        (("--master-port", "65536"), "65535"),
        (("--no-python", "--trainer.module", "x"), "script and module|module and script"),
        (("--no-python", "--run-path"), "both set"),
        (("--nproc", "two"), "must be a whole number from 1 to .*, or gpu, cpu or auto"),
        (("--nproc", "0"), "must be a whole number from 1"),
    ],
)
def test_what_torchrun_could_not_carry_out_is_refused(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        flags_of(*options)


@pytest.mark.parametrize("flag", ["--no-python", "--run-path"])
def test_a_module_needs_python(flag: str) -> None:
    with pytest.raises(UserError, match=f"{flag} and -m exclude each other"):
        sft(flag, "-m", "pkg.train")


@pytest.mark.parametrize("flag", ["--no-python", "--run-path"])
def test_without_a_script_there_is_nothing_that_could_be_started_without_python(flag: str) -> None:
    with pytest.raises(UserError, match="is for a script of yours"):
        sft(flag)


def test_a_program_without_python_stays_as_it_was_typed() -> None:
    for typed in ("./run.sh", "numactl", "/bin/bash"):
        found = flags_of("--trainer.script", typed, "--no-python")
        assert (found.no_python, found.training_script) == (True, typed)


def test_run_path_gets_the_absolute_path_that_torchrun_wants() -> None:
    found = flags_of("--run-path", "--trainer.cwd", "sub")
    assert (found.run_path, found.training_script) == (True, "/here/sub/train.py")


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
