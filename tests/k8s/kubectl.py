"""A kubectl of the tests' own: keeps objects as files, and runs the pods' commands as processes of this host.

It is put on the PATH as `kubectl`. KUBECTL_STATE is its directory. Files in it change what happens: with `hold` no pod
is scheduled, `cut` ends each stream of logs in the middle of a line (after how many bytes, and with which exit code),
`refuse-VERB` has what the API server answers to that verb. There is no DNS between the processes: the first pod's host
name becomes loopback, and the port a free one.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import psutil
import yaml

STATE = Path(os.environ.get("KUBECTL_STATE", "."))
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
}


def expanded(word: str, variables: dict[str, str]) -> str:
    """As Kubernetes expands a word of `command`: $$ is a dollar, $(NAME) a variable that it knows."""
    known = r"\$\$|\$\(([^)]*)\)"
    return re.sub(known, lambda m: "$" if m[0] == "$$" else variables.get(m[1], m[0]), word)


def option(arguments: list[str], *names: str) -> str | None:
    for index, word in enumerate(arguments):
        if word in names:
            return arguments[index + 1]
        for name in names:
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
    return None


def free_port() -> int:
    """One that is free, as is the next one, which launch takes as well; the system gives neither to anybody else."""
    for port in range(11000 + os.getpid() % 2500 * 2, 17000, 2):
        with suppress(OSError), socket.socket() as one, socket.socket() as next_one:
            one.bind(("127.0.0.1", port))
            next_one.bind(("127.0.0.1", port + 1))
            return port
    raise AssertionError("no free ports")


def file_of(name: str) -> Path:
    return STATE / f"{name}.json"


def start_pods(jobset: dict[str, Any]) -> list[dict[str, Any]]:
    name, port, pods = jobset["metadata"]["name"], str(free_port()), []
    for replicated in jobset["spec"]["replicatedJobs"]:
        job = replicated["template"]["spec"]
        (container,) = job["template"]["spec"]["containers"]
        for index in range(job["completions"]):
            pod = f"{name}-{replicated['name']}-0-{index}"
            variables = {"JOB_COMPLETION_INDEX": str(index), "LAUNCH_K8S_RESTARTS": "0"}
            words = [expanded(word, variables) for word in container["command"]]
            words = [word.replace(f"{name}-trainer-0-0.{name}:29500", f"127.0.0.1:{port}") for word in words]
            code = STATE / f"{pod}.code"
            process = subprocess.Popen(
                [sys.executable, __file__, "run-pod", str(code), *words],
                env={**os.environ, **variables},
                cwd=container.get("workingDir"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            group = {"jobset.sigs.k8s.io/replicatedjob-name": replicated["name"]}
            its = job["template"]["metadata"]
            metadata = {
                "name": pod,
                "labels": its["labels"] | group,
                "annotations": its.get("annotations", {}) | {"batch.kubernetes.io/job-completion-index": str(index)},
            }
            spec = job["template"]["spec"]
            pods.append({"name": pod, "pid": process.pid, "code": str(code), "metadata": metadata, "spec": spec})
    return pods


def run_pod(code: str, command: list[str]) -> int:
    """The container: its SIGTERM goes to the command, whose exit code is written down."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
    printing = threading.Thread(target=keep_log, args=(process.stdout, Path(code).with_suffix(".log")), daemon=True)
    printing.start()
    returned = process.wait()
    printing.join(5)
    Path(f"{code}.draft").write_text(str(returned))
    Path(f"{code}.draft").rename(code)  # who looks at it finds nothing, or all of it
    return returned


def keep_log(printed: IO[bytes], log: Path) -> None:
    """Each line with its time, as a container runtime keeps them."""
    with log.open("ab", buffering=0) as file:
        for line in printed:
            now = time.time_ns()
            second = datetime.fromtimestamp(now // 10**9, UTC)
            file.write(f"{second:%Y-%m-%dT%H:%M:%S}.{now % 10**9:09}Z ".encode() + line)


def phase(pod: dict[str, Any]) -> str:
    code = Path(pod["code"])
    if code.exists():
        return "Succeeded" if code.read_text() == "0" else "Failed"
    return "Running"


def seen(kept: dict[str, Any]) -> list[dict[str, Any]]:
    """The JobSet and its pods, as the API server has them."""
    jobset, labels = kept["jobset"], kept["jobset"]["metadata"]["labels"]
    pods = [
        {"kind": "Pod", "metadata": pod["metadata"], "spec": pod["spec"], "status": {"phase": phase(pod)}}
        for pod in kept["pods"]
    ]
    if not kept["pods"]:
        waiting = {"phase": "Pending", "conditions": [UNSCHEDULABLE]}
        name = f"{jobset['metadata']['name']}-trainer-0-0"
        return [jobset, {"kind": "Pod", "metadata": {"name": name, "labels": labels}, "status": waiting}]
    phases = {pod["status"]["phase"] for pod in pods}
    ended = "Failed" if "Failed" in phases else "Completed" if phases == {"Succeeded"} else None
    conditions = [{"type": ended, "status": "True", "message": "jobset has ended"}] if ended else []
    return [{**jobset, "status": {"conditions": conditions}}, *pods]


def kept_objects() -> dict[str, dict[str, Any]]:
    return {file.stem: json.loads(file.read_text()) for file in STATE.glob("*.json")}


def create(arguments: list[str]) -> int:
    jobset = yaml.safe_load(Path(option(arguments, "-f") or "").read_text())
    jobset["metadata"].setdefault("namespace", "default")
    name = jobset["metadata"]["name"]
    if file_of(name).exists():
        print(f'Error from server (AlreadyExists): jobsets.jobset.x-k8s.io "{name}" already exists', file=sys.stderr)
        return 1
    pods = [] if (STATE / "hold").exists() else start_pods(jobset)
    file_of(name).write_text(json.dumps({"jobset": jobset, "pods": pods}))
    print(json.dumps(jobset))
    return 0


def is_selected(item: dict[str, Any], selector: str) -> bool:
    """As Kubernetes reads `KEY=VALUE,KEY in (A,B)`."""
    for key, value, values in re.findall(r"([\w./-]+)(?:=([\w.-]+)| in \(([^)]*)\))", selector):
        if item["metadata"]["labels"].get(key) not in ([value] if value else values.split(",")):
            return False
    return True


def get(arguments: list[str]) -> int:
    selector = option(arguments, "-l")
    if selector:
        kinds = {"pods": ["Pod"]}.get(arguments[1], ["JobSet", "Pod"])
        there = [each for kept in kept_objects().values() for each in seen(kept)]
        items = [each for each in there if each["kind"] in kinds and is_selected(each, selector)]
        print(json.dumps({"kind": "List", "items": items}))
    elif (found := kept_objects().get(arguments[2])) is not None:
        print(json.dumps(seen(found)[0]))
    return 0


def delete(arguments: list[str]) -> int:
    """Of a JobSet, with its pods, or of the pods that -l selects. What the kubelet does is done here too."""
    waits = "--wait=false" not in arguments
    grace = float(option(arguments, "--grace-period") or 60)
    if selector := option(arguments, "-l"):
        end([pod for kept in kept_objects().values() for pod in kept["pods"] if is_selected(pod, selector)], grace)
        return 0
    name = arguments[-1] if not arguments[-1].startswith("-") else arguments[2]
    kept = kept_objects().get(name)
    end(kept["pods"] if kept else [], grace if waits else 0, kills=waits)
    if waits:
        file_of(name).unlink(missing_ok=True)
        print(f'jobset.jobset.x-k8s.io "{name}" deleted')
    return 0


def end(pods: list[dict[str, Any]], grace: float, kills: bool = True) -> None:
    """One SIGTERM for each pod, and after the grace SIGKILL for all of its processes."""
    for pod in pods:
        told = STATE / f"{pod['name']}.told"
        if phase(pod) == "Running" and not told.exists():
            told.touch()
            os.kill(pod["pid"], signal.SIGTERM)
    deadline = time.monotonic() + grace
    while any(phase(pod) == "Running" for pod in pods) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pod in pods if kills else []:
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(pod["pid"]).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        while phase(pod) == "Running":
            time.sleep(0.05)


def logs(arguments: list[str]) -> int:
    """With -f until the container has ended. Of --since-time only whole seconds reach the API server."""
    pod = next((pod for kept in kept_objects().values() for pod in kept["pods"] if pod["name"] == arguments[1]), None)
    if pod is None:
        print(f'Error from server (NotFound): pods "{arguments[1]}" not found', file=sys.stderr)
        return 1
    since = (option(arguments, "--since-time") or "")[: len("2026-01-01T00:00:00")].encode()
    cut = STATE / "cut"
    left, code = map(int, cut.read_text().split()) if "-f" in arguments and cut.exists() else (sys.maxsize, 0)
    with (STATE / f"{pod['name']}.log").open("rb") as log:
        has_ended, rest = False, b""
        while not has_ended:
            has_ended = "-f" not in arguments or phase(pod) != "Running"
            lines = (rest + log.read()).splitlines(keepends=True)
            rest = b"" if has_ended or not lines or lines[-1].endswith(b"\n") else lines.pop()
            for line in lines:
                text = line if "--timestamps" in arguments else line.partition(b" ")[2]
                if line[: len(since)] < since:
                    continue
                sys.stdout.buffer.write(text[:left])
                left -= len(text)
                if left <= 0:
                    print("error: unexpected EOF", file=sys.stderr) if code else None
                    return code
            sys.stdout.buffer.flush()
            time.sleep(0.05)
    return 0


def execute(arguments: list[str]) -> int:
    """`exec [-it] POD -c CONTAINER -- COMMAND`: the command beside the pod's own, with our terminal."""
    pod = next(word for word in arguments[1:] if not word.startswith("-"))
    kept = [each for found in kept_objects().values() for each in found["pods"] if each["name"] == pod]
    if not kept or phase(kept[0]) != "Running":
        print(f'Error from server (NotFound): pods "{pod}" not found', file=sys.stderr)
        return 1
    return subprocess.call(arguments[arguments.index("--") + 1 :], env={**os.environ, "LAUNCH_K8S_RESTARTS": "0"})


def main() -> int:
    arguments = [word for word in sys.argv[1:] if not word.startswith(("--context=", "--namespace="))]
    with (STATE / "calls").open("a") as calls:
        calls.write(" ".join(sys.argv[1:]) + "\n")
    if arguments == ["config", "current-context"]:
        print("lab")
        return 0
    if (refusal := STATE / f"refuse-{arguments[0]}").exists():
        print(refusal.read_text(), file=sys.stderr)
        return 1
    verbs = {"create": create, "get": get, "delete": delete, "logs": logs, "exec": execute}
    return verbs[arguments[0]](arguments)


if __name__ == "__main__":
    sys.exit(run_pod(sys.argv[2], sys.argv[3:]) if sys.argv[1:2] == ["run-pod"] else main())
