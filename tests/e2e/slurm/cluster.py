"""A Slurm of the test's own: a controller and three nodes on this host, with everything below one directory."""

import os
import platform
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.waiting import until

NODES = ("n1", "n2", "n3")
PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "salloc", "squeue", "scontrol", "scancel")
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={root}/munge.socket,cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_min_interval=1,sched_interval=1,defer_batch=0
ReturnToService=2
MpiDefault=none
KillWait=60
SlurmdTimeout=300
NodeName=n[1-3] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[3]}] CPUs=2
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def lacking() -> str | None:
    """Why there can be no Slurm here; None if there can."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [program for program in PROGRAMS if not shutil.which(program, path=path)]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return None if os.geteuid() == 0 else "slurmd needs root"


class Cluster:
    """slurmctld and three slurmd, until `close`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {**os.environ, "SLURM_CONF": str(root / "slurm.conf")}
        self.environment["PATH"] += ":/usr/sbin:/sbin"
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._slurmd: dict[str, subprocess.Popen[bytes]] = {}
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        ports = _free_ports()
        conf = CONF.format(host=platform.node().split(".")[0], root=self.root, user="root", ports=ports)
        (self.root / "slurm.conf").write_text(conf)
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.root / name).mkdir()
        self._start_munge()
        self._daemon("slurmctld", "-D")
        until(lambda: self._answers("ping"))
        for node in NODES:
            self._start_node(node)
        self._await_nodes()

    def _start_node(self, node: str) -> None:
        self._slurmd[node] = self._daemon("slurmd", "-D", "-N", node)

    def _await_nodes(self) -> None:
        until(lambda: self.ask("sinfo", "-h", "-o", "%T").split() == ["idle"])

    def lose(self, node: str) -> None:
        """Kill all that Slurm runs on a node, and its slurmd, as when the machine loses its power."""
        self._slurmd[node].kill()
        for pid in self._on_node(node):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._slurmd[node].wait()

    def give_up(self, node: str) -> None:
        """What Slurm does by itself after SlurmdTimeout."""
        self.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=dead")

    def repair(self, node: str) -> None:
        """The machine is back."""
        self.give_up(node)
        self._daemons.remove(self._slurmd[node])
        self._start_node(node)
        self.ask("scontrol", "update", f"nodename={node}", "state=resume")
        self._await_nodes()

    def _on_node(self, node: str) -> set[int]:
        """The pids of the tasks that run there, and of the slurmstepd above each."""
        marks = {f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={self.root}/slurm.conf".encode()}
        found = set()
        for directory in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if marks <= set((directory / "environ").read_bytes().split(b"\0")):
                    parent = Path("/proc", (directory / "stat").read_text().rpartition(")")[2].split()[1])
                    is_under_slurm = (parent / "comm").read_text().strip() == "slurmstepd"
                    found |= {int(directory.name), *([int(parent.name)] if is_under_slurm else ())}
        return found

    def _start_munge(self) -> None:
        """munged refuses a key or a directory that others could write."""
        private = self.root / "munge"
        private.mkdir(mode=0o700)
        key = private / "key"
        subprocess.run(["mungekey", "-c", "-k", str(key)], env=self.environment, check=True)
        files = {"key-file": key, "socket": self.root / "munge.socket", "pid-file": private / "pid"}
        files |= {"log-file": private / "log", "seed-file": private / "seed"}
        options = [f"--{name}={path}" for name, path in files.items()]
        self._daemon("munged", "-F", "--force", *options)
        until((self.root / "munge.socket").exists)

    def _daemon(self, *argv: str) -> subprocess.Popen[bytes]:
        with (self.root / f"{'-'.join(argv).strip('-')[:40].replace('/', '_')}.out").open("wb") as output:
            daemon = subprocess.Popen(
                argv, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.root
            )
        self._daemons.append(daemon)
        return daemon

    def _answers(self, *arguments: str) -> bool:
        return "is UP" in self.ask("scontrol", *arguments)

    def ask(self, *argv: str) -> str:
        """What one of Slurm's tools prints, whether it fails or not."""
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=240)
        return done.stdout + done.stderr

    def job(self, job_id: str) -> dict[str, str]:
        """`scontrol show job`, by its keys."""
        text = self.ask("scontrol", "show", "job", "-o", job_id)
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def wait_for(self, job_id: str, state: str, seconds: float = 90) -> dict[str, str]:
        """Until the job is in the state, as `scontrol show job` calls it."""
        found: dict[str, str] = {}

        def has_come() -> bool:
            found.update(self.job(job_id))
            return found.get("JobState") == state

        try:
            until(has_come, seconds)
        except AssertionError as error:
            raise AssertionError(f"job {job_id} is not {state}: {found}\n{self.logs()}") from error
        return found

    def logs(self) -> str:
        return "\n".join(
            f"== {file.name}\n{file.read_text(errors='replace')[-1500:]}" for file in self.root.glob("*.log")
        )

    def close(self) -> None:
        """End the jobs, then the daemons; nothing of them is left."""
        if len(self._daemons) > 1:
            with suppress(subprocess.TimeoutExpired):
                self.ask("scancel", "--full", "--signal=KILL", "--user=root")
                self.ask("scancel", "--user=root")
        with suppress(AssertionError):
            until(lambda: len(self._daemons) < 3 or not self.ask("squeue", "-h").strip())
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in reversed(self._daemons):
            try:
                daemon.wait(15)
            except subprocess.TimeoutExpired:
                daemon.send_signal(signal.SIGKILL)
                daemon.wait()


def _free_ports() -> tuple[int, ...]:
    """For the controller and, one after the other, for the nodes."""
    count = 1 + len(NODES)
    for first in range(17001 + os.getpid() % 500 * 4, 32000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return tuple(range(first, first + count))
    raise AssertionError("no free ports")
