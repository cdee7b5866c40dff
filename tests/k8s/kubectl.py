"""A kubectl of the tests' own: keeps objects as files, and runs the pods' commands as processes of this host.

It is put on the PATH as `kubectl`. KUBECTL_STATE is its directory; with a file `hold` in it no pod is scheduled. There
is no DNS between the processes: the first pod's host name becomes loopback, and the port a free one.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

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
            with (STATE / f"{pod}.log").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, __file__, "run-pod", str(code), *words],
                    env={**os.environ, **variables},
                    cwd=container.get("workingDir"),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            group = {"jobset.sigs.k8s.io/replicatedjob-name": replicated["name"]}
            its = job["template"]["metadata"]
            metadata = {
                "name": pod,
                "labels": its["labels"] | group,
                "annotations": its.get("annotations", {}) | {"batch.kubernetes.io/job-completion-index": str(index)},
            }
            pods.append({"name": pod, "pid": process.pid, "code": str(code), "metadata": metadata})
    return pods


def run_pod(code: str, command: list[str]) -> int:
    """The container: its SIGTERM goes to the command, whose exit code is written down."""
    process = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
    returned = process.wait()
    Path(f"{code}.draft").write_text(str(returned))
    Path(f"{code}.draft").rename(code)  # who looks at it finds nothing, or all of it
    return returned


def phase(pod: dict[str, Any]) -> str:
    code = Path(pod["code"])
    if code.exists():
        return "Succeeded" if code.read_text() == "0" else "Failed"
    return "Running"


def seen(kept: dict[str, Any]) -> list[dict[str, Any]]:
    """The JobSet and its pods, as the API server has them."""
    jobset, labels = kept["jobset"], kept["jobset"]["metadata"]["labels"]
    pods = [{"kind": "Pod", "metadata": pod["metadata"], "status": {"phase": phase(pod)}} for pod in kept["pods"]]
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
    if (STATE / "refuse").exists():
        print((STATE / "refuse").read_text(), file=sys.stderr)
        return 1
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
    name = arguments[2]
    kept = kept_objects().get(name)
    for pod in kept["pods"] if kept else []:
        if phase(pod) == "Running":
            os.kill(pod["pid"], signal.SIGTERM)
    deadline = time.monotonic() + 60
    while kept and any(phase(pod) == "Running" for pod in kept["pods"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    file_of(name).unlink(missing_ok=True)
    print(f'jobset.jobset.x-k8s.io "{name}" deleted')
    return 0


def logs(arguments: list[str]) -> int:
    """As kubectl does: with -f until the container has ended."""
    pod = next((pod for kept in kept_objects().values() for pod in kept["pods"] if pod["name"] == arguments[1]), None)
    if pod is None:
        print(f'Error from server (NotFound): pods "{arguments[1]}" not found', file=sys.stderr)
        return 1
    with (STATE / f"{pod['name']}.log").open("rb") as log:
        has_ended = False
        while not has_ended:
            has_ended = "-f" not in arguments or phase(pod) != "Running"
            sys.stdout.buffer.write(log.read())
            sys.stdout.buffer.flush()
            time.sleep(0.05)
    return 0


def main() -> int:
    arguments = [word for word in sys.argv[1:] if not word.startswith(("--context=", "--namespace="))]
    with (STATE / "calls").open("a") as calls:
        calls.write(" ".join(sys.argv[1:]) + "\n")
    if arguments == ["config", "current-context"]:
        print("lab")
        return 0
    return {"create": create, "get": get, "delete": delete, "logs": logs}[arguments[0]](arguments)


if __name__ == "__main__":
    sys.exit(run_pod(sys.argv[2], sys.argv[3:]) if sys.argv[1:2] == ["run-pod"] else main())
