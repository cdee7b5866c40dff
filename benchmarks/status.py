"""Times `launch status` with 1000 runs, each with 500 steps in its metrics file.

    python benchmarks/status.py [RUNS] [REPETITIONS]

The runs are made in a temporary directory and removed afterwards. Nothing is subtracted: the
first line, `launch stop --help`, is what the command line alone takes.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from launcher.rundir import RunDir
from launcher.runs.state import ProcessState, ProgressState, RankState, RunState

LAUNCH = Path(sys.executable).with_name("launch")
STEPS = 500
RANKS = 8


def make_run(run: RunDir, started: float) -> None:
    """A finished run, with what the reference trainer logs at each step."""
    ranks = [RankState(rank=rank, log=run.rank_log(rank), exit_code=0) for rank in range(RANKS)]
    trainer = ProcessState(name="trainer", log=run.component_log("trainer"), exit_code=0, ranks=ranks)
    state = RunState(
        name=run.root.name,
        kind="sft",
        attempt=1,
        state="finished",
        host="",
        boot_id="",
        started=started,
        ended=started + 600,
        exit_code=0,
        grace=30,
        progress=ProgressState(component="trainer", metric="loss", max_steps=STEPS),
        processes=[trainer],
    )
    run.all_metrics.mkdir(parents=True)
    run.state.write_text(state.model_dump_json(indent=1))
    with run.metrics("trainer").open("w") as file:
        file.writelines(f"{json.dumps(_step(number, started))}\n" for number in range(1, STEPS + 1))


def _step(number: int, started: float) -> dict[str, float]:
    names = ("loss", "optimizer/gradient_norm", "optimizer/learning_rate", "perf/step_time", "perf/tokens_per_s")
    return {"step": number, "time": started + number} | dict.fromkeys(names, 1 / number)


def milliseconds(directory: Path, *arguments: str) -> float:
    environment = os.environ | {"XDG_STATE_HOME": str(directory / "state")}
    start = time.perf_counter()
    subprocess.run([LAUNCH, *arguments], cwd=directory, env=environment, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - start) * 1000


def main(runs: int = 1000, repetitions: int = 5) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for number in range(runs):
            make_run(RunDir(directory / "outputs" / f"run-{number}"), started=time.time() - 60 * number)
        print(f"{runs} runs, ms{'median':>20}{'least':>8}")
        for arguments in (("stop", "--help"), ("status",), ("status", "--json"), ("status", f"run-{runs // 2}")):
            times = [milliseconds(directory, *arguments) for _ in range(repetitions)]
            print(f"  launch {' '.join(arguments):<15}{statistics.median(times):8.0f}{min(times):8.0f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
