"""What grows with the nodes of a run: its plan, their meeting, and what is read of them afterwards.

    python benchmarks/scaling.py [NODES ...]

Nothing of a cluster is needed: nodes meet on loopback, a thread each, and the run that is read was never run. Eight
ranks a node. They meet five times without a secret and five times with one, in turn; the medians are shown, and the
median of the ratios.
"""

import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

from launcher.config.run import SFTConfig
from launcher.machine.provenance import Provenance
from launcher.nodes.rendezvous import meet
from launcher.nodes.secret import JoinSecret
from launcher.options.layer import Layer
from launcher.options.load import load
from launcher.plan.build import make_plan
from launcher.plan.render import render
from launcher.plan.rendezvous import plan_nodes
from launcher.plan.spec import Machine, Plan
from launcher.rundir import RunDir
from launcher.runs.state import read_state
from launcher.runs.state_file import StateFile, first_state
from launcher.slurm.script import sbatch_script
from launcher.view.logs.follow import show_logs
from launcher.view.logs.request import LogRequest, select
from launcher.view.status.model import run_details
from launcher.view.status.page import run_page
from launcher.view.tmux.panes import layout_of

RANKS = 8
LINES = 100  # in the log of each rank
PORT = 23450
PAIRS = 15
SECRET = JoinSecret(b"0123456789abcdef" * 4)


def plan_on(node: int, nodes: int, root: Path) -> Plan:
    torchrun = {"nnodes": str(nodes), "node_rank": node, "rdzv_endpoint": f"127.0.0.1:{PORT}"}
    trainer = {"nproc": RANKS, "batch_size": RANKS * nodes, "torchrun": torchrun}
    config = load(SFTConfig, [Layer({"trainer": trainer})])
    machine = Machine(sys.executable, Path.cwd(), cpus=64, run_id="benchmark", nodes=plan_nodes(config))
    return make_plan(config, machine, RunDir(root), "benchmark")


def seconds(work: Callable[[], object]) -> float:
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def render_all(nodes: int) -> None:
    """The plan of every node, and the job."""
    root = Path("/runs/benchmark")
    for node in range(nodes):
        plan = plan_on(node, nodes, root)
        render(plan, Path.cwd(), files_are_written=False)
    config = load(SFTConfig, [Layer({"slurm": {"nodes": nodes, "gpus_per_node": "8"}})])
    sbatch_script(config, Machine(sys.executable, Path.cwd()), RunDir(root), "benchmark", "launch:benchmark")


def meet_all(plans: list[Plan], secret: JoinSecret) -> None:
    with ThreadPoolExecutor(len(plans)) as pool:
        meetings = [pool.submit(meet, plan, None, 0, 60.0, lambda _: None, secret) for plan in plans]
        links = [meeting.result().begin() for meeting in meetings]
    for link in links:
        for each in link._sockets.values():
            each.close()


def meeting_times(nodes: int) -> tuple[float, float, float, float]:
    """Seconds until all have met, without and with a secret, and the ratios of the seconds and of the CPU time.

    Pairs, with the secret first in every other one.
    """
    plans = [plan_on(node, nodes, Path("/runs/benchmark")) for node in range(nodes)]
    taken: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for pair in range(PAIRS):
        for has_secret in (False, True) if pair % 2 else (True, False):
            before = time.process_time()
            wall = seconds(partial(meet_all, plans, SECRET if has_secret else JoinSecret()))
            taken[has_secret].append((wall, time.process_time() - before))
    pairs = list(zip(taken[False], taken[True], strict=True))
    ratios = [median(after[what] / before[what] for before, after in pairs) for what in (0, 1)]
    walls = [median(wall for wall, _ in taken[has_secret]) for has_secret in (False, True)]
    return walls[0], walls[1], ratios[0], ratios[1]


def write_all(nodes: int, root: Path) -> None:
    """What the nodes of a run that has ended have written."""
    for node in range(nodes):
        plan = plan_on(node, nodes, root)
        plan.run.own.mkdir(parents=True, exist_ok=True)
        ended = {"state": "finished", "exit_code": 0, "ended": time.time()}
        StateFile(plan.run, first_state(plan, Provenance()).model_copy(update=ended)).write()
        ranks = plan.processes[0].ranks
        assert ranks is not None
        for rank in range(RANKS):
            log = ranks.directory / "attempt_0" / str(rank) / "stdout.log"
            log.parent.mkdir(parents=True)
            line = "2026-11-23 10:{:02}:{:02}.{:03} | INFO    | step {}/1000 | loss 2.0000 | grad 0.812\n"
            log.write_text("".join(line.format(n // 60, n % 60, node * RANKS % 1000, n) for n in range(LINES)))
        plan.run.config.write_text("[trainer.torchrun]\n")


def read_all(root: Path) -> tuple[float, float, float]:
    """Seconds for the page of `launch status`, all lines of `launch logs`, the panes of `launch attach`."""
    run = RunDir(root, 1, 0)
    state = read_state(run)
    assert state is not None
    page = seconds(lambda: run_page(state, run_details(run, state), colours=False))
    with Path(os.devnull).open("wb") as nothing, contextlib.redirect_stdout(io.TextIOWrapper(nothing)):
        logs = seconds(lambda: show_logs(select(run, state, LogRequest()), follow=False, labels=True, every_line=False))
    return page, logs, seconds(lambda: layout_of(run, state))


def main(counts: list[int]) -> None:
    print("nodes  ranks  plans and job  one plan  meeting  with a secret  ratio  of CPU  status  logs (lines)  attach")
    for nodes in counts:
        planning = seconds(partial(render_all, nodes))
        without, having, ratio, of_cpu = meeting_times(nodes) if nodes > 1 else (0.0, 0.0, 1.0, 1.0)
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory, "benchmark")
            write_all(nodes, root)
            status, logs, attach = read_all(root)
        row = f"{planning:11.3f} s {planning / nodes * 1000:9.1f} ms"
        row += f" {without:6.3f} s {having:12.3f} s {ratio:6.2f} {of_cpu:7.2f}"
        row += f" {status:5.2f} s {logs:6.2f} s ({nodes * RANKS * LINES}) {attach:6.3f} s"
        print(f"{nodes:5}  {nodes * RANKS:5}  {row}", flush=True)


if __name__ == "__main__":
    os.environ["XDG_STATE_HOME"] = tempfile.gettempdir()
    main([int(count) for count in sys.argv[1:]] or [1, 2, 16, 128])
