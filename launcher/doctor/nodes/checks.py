"""Node 0's part of `launch doctor --nodes`: it asks all nodes, itself included, and compares their answers."""

import math
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from statistics import median
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from launcher.borders.values import Count, Port
from launcher.doctor.check import Check
from launcher.doctor.nodes.node import Answer, Node, write_token
from launcher.doctor.nodes.pair import SECONDS, SIZE, START_SECONDS
from launcher.nodes.channel import Channel
from launcher.numbers import plural
from launcher.plan.nodes import Nodes
from launcher.stacks.collectives import ranks_text

ANSWER_SECONDS = 60.0
CLOCKS = 0.5  # seconds; logs of more would be merged in the wrong order
LOOKS = 3  # at each clock: a busy node answers late
SLOW = 0.5  # of the median rate of all pairs
SHOWN = 15  # pairs; of more, the slowest
SAME = ("launch", "Python", "torch", "CUDA", "GPUs")


class _Heard(BaseModel):
    """What any answer of another node may hold."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, defer_build=True)
    trouble: str = ""
    host: str = ""
    launch: str = ""
    Python: str = ""
    torch: str = ""
    CUDA: str = ""
    GPUs: Count = 0
    failed: list[tuple[str, str, str]] = []
    time: float = 0.0
    seen: bool = False
    port: Port = 0
    seconds: float = 0.0


class Examination:
    """The checks, in order. A node that is gone is asked nothing more."""

    def __init__(self, nodes: Nodes, own: Node, channels: Mapping[int, Channel]) -> None:
        self.nodes, self.own, self.channels = nodes, own, channels
        self.gone: dict[int, str] = {}

    def checks(self) -> Iterator[Check]:
        with ThreadPoolExecutor(self.nodes.count) as self.pool:
            try:
                yield from self._all()
            except BaseException:  # Ctrl-C: the pool would wait for the answers
                self.own.close()
                for channel in self.channels.values():
                    channel.close()
                raise

    def _all(self) -> Iterator[Check]:
        facts = self._ask_all({"ask": "facts"})
        yield from _each(facts)
        yield from _same(facts)
        yield self._clocks()
        yield self._directory()
        yield self._port()
        backend = "nccl" if facts and all(fact.get("GPUs") for fact in facts.values()) else "gloo"
        yield from self._all_reduces(backend)
        yield from (Check("nodes", f"node {node}", "fail", why) for node, why in sorted(self.gone.items()))

    def _ask(self, node: int, question: Answer, seconds: float = ANSWER_SECONDS) -> Answer:
        if node == 0:
            return self.own.ask(question)
        if node in self.gone:
            return {"trouble": self.gone[node]}
        try:
            self.channels[node].send(question)
            return _Heard.model_validate(self.channels[node].receive(seconds)).model_dump(exclude_unset=True)
        except ValidationError:
            return {"trouble": "its answer is not valid"}
        except OSError as error:
            self.gone[node] = str(error)
            return {"trouble": str(error)}

    def _ask_all(self, question: Answer, but: int | None = None) -> dict[int, Answer]:
        """The answers of the nodes that are there."""
        asked = [node for node in range(self.nodes.count) if node != but]
        answers = dict(zip(asked, self.pool.map(lambda node: self._ask(node, question), asked), strict=True))
        return {node: answer for node, answer in answers.items() if node not in self.gone}

    def _clocks(self) -> Check:
        found = {node: self._ahead(node) for node in range(1, self.nodes.count)}
        ahead = {node: by for node, (by, _) in found.items()}
        wrong = [
            f"node {node} is {abs(by):.1f}s {_way(by)}"
            for node, (by, doubt) in found.items()
            if abs(by) - doubt > CLOCKS
        ]
        if wrong:
            fix = "synchronize them: chronyc makestep, or: timedatectl set-ntp true"
            return Check("nodes", "clocks", "warn", f"compared with node 0: {', '.join(wrong)}", fix)
        most = max(map(abs, ahead.values()), default=0.0)
        return Check("nodes", "clocks", "ok", f"at most {most * 1000:.1f} ms apart from node 0's")

    def _ahead(self, node: int) -> tuple[float, float]:
        """How many seconds its clock is ahead, and by how many that may be wrong. The quickest of a few answers."""
        found = [(0.0, math.inf)]  # without an answer
        for _ in range(LOOKS):
            began = time.time()
            answer = self._ask(node, {"ask": "clock"})
            ended = time.time()
            if "time" in answer:
                found.append((float(answer["time"]) - (began + ended) / 2, (ended - began) / 2))
        return min(found, key=lambda one: one[1])

    def _directory(self) -> Check:
        where = self.own.directory
        try:
            file, token = write_token(where)
        except OSError as error:
            return Check("nodes", "directory", "fail", f"{where}: {error.strerror}", "--output-dir DIR on all nodes")
        try:
            answers = self._ask_all({"ask": "sees", "name": file.name, "token": token})
        finally:
            file.unlink(missing_ok=True)
        blind = [node for node, answer in answers.items() if not answer.get("seen")]
        if not blind:
            return Check("nodes", "directory", "ok", f"{where} is shared by all")
        found = f"{where} of node 0 is not that of {ranks_text(blind, 'node')}: launch rl needs a shared one"
        return Check("nodes", "directory", "warn", found, "name one that all share with --output-dir")

    def _port(self) -> Check:
        """torchrun's: the launches have met at the other one."""
        host, port = self.nodes.host, self.nodes.port
        try:
            with socket.create_server(("", port), dualstack_ipv6=False):
                answers = self._ask_all({"ask": "reaches", "host": host, "port": port}, but=0)
        except OSError as error:
            fix = "name another one in --rdzv-endpoint"
            return Check("nodes", "ports", "fail", f"port {port} of node 0: {error.strerror}", fix)
        closed = {node: answer["trouble"] for node, answer in answers.items() if answer.get("trouble")}
        if closed:
            found = "; ".join(f"node {node} cannot reach {host}:{port}: {why}" for node, why in closed.items())
            return Check("nodes", "ports", "fail", found, f"open ports {port} and {port + 1} of node 0 for all nodes")
        return Check("nodes", "ports", "ok", f"all nodes reach {host}:{port} and {port + 1}")

    # --- all-reduces ---

    def _all_reduces(self, backend: str) -> Iterator[Check]:
        answers: dict[tuple[int, int], Answer] = {}
        for pairs in rounds(self.nodes.count):
            there = [pair for pair in pairs if not self.gone.keys() & set(pair)]
            run: Callable[[tuple[int, int]], Answer] = lambda pair: self._all_reduce(pair, backend)  # noqa: E731
            answers |= dict(zip(there, self.pool.map(run, there), strict=True))
        rates = {pair: SIZE / answer["seconds"] for pair, answer in answers.items() if answer.get("seconds")}
        for pair, answer in sorted(answers.items()):
            if pair not in rates:
                fix = "if torch takes the wrong network: export GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME on all nodes"
                yield Check("nodes", "all-reduce", "fail", f"{_named(pair)}: {answer.get('trouble', 'failed')}", fix)
        if rates:
            yield from _rates(rates, backend)

    def _all_reduce(self, pair: tuple[int, int], backend: str) -> Answer:
        first, second = pair
        host = self.nodes.hosts[first]
        task = {"ask": "reduce", "rank": 0, "host": host, "port": 0, "backend": backend}
        opened = self._ask(first, task, START_SECONDS)
        if "port" not in opened:
            return opened
        theirs = self._ask(second, {**task, "rank": 1, "port": opened["port"]}, START_SECONDS + SECONDS)
        ours = self._ask(first, {"ask": "result"}, 2 * SECONDS)
        return theirs if theirs.get("trouble") else ours


def rounds(count: int) -> Iterator[list[tuple[int, int]]]:
    """All pairs, in rounds in which no node has two."""
    waiting = list(combinations(range(count), 2))
    while waiting:
        taken: set[int] = set()
        chosen = []
        for pair in waiting:
            if not taken & set(pair):
                chosen.append(pair)
                taken |= set(pair)
        waiting = [pair for pair in waiting if pair not in chosen]
        yield chosen


def _rates(rates: Mapping[tuple[int, int], float], backend: str) -> Iterator[Check]:
    usual, what = median(rates.values()), f"64 MB by {backend}"
    slow = {pair: rate for pair, rate in rates.items() if rate < SLOW * usual}
    slowest = sorted(rates.items(), key=lambda item: item[1])[:SHOWN]
    shown = ", ".join(f"{_named(pair)} {rate / 1e9:.2f} GB/s" for pair, rate in sorted(slowest))
    more = f" (the slowest {SHOWN} of {plural(len(rates), 'pair')})" if len(rates) > SHOWN else ""
    if slow:
        named = ", ".join(_named(pair) for pair in sorted(slow))
        fix = "look at the links of these nodes: ip -s link, ibstat"
        yield Check("nodes", "all-reduce", "warn", f"{what}: {shown}{more}; slow: {named}", fix)
    else:
        yield Check("nodes", "all-reduce", "ok", f"{what}: {shown}{more}")


def _each(facts: Mapping[int, Answer]) -> Iterator[Check]:
    for node, fact in sorted(facts.items()):
        name, failed = f"node {node}", fact.get("failed") or []
        if fact.get("trouble") or failed:
            found = "; ".join(f"{what}: {why}" for what, why, _ in failed) or fact["trouble"]
            yield Check("nodes", name, "fail", f"{fact.get('host', '')}: {found}", "there, type: launch doctor")
            continue
        gpus = plural(fact["GPUs"], "GPU") if fact.get("GPUs") else "no GPU"
        python, torch = (fact.get(what, "unknown") for what in ("Python", "torch"))
        yield Check("nodes", name, "ok", f"{fact.get('host', '')}: Python {python}, torch {torch}, {gpus}")


def _same(facts: Mapping[int, Answer]) -> Iterator[Check]:
    """What should be the same everywhere."""
    differing = []
    for what in SAME:
        by_value: dict[Any, list[int]] = defaultdict(list)
        for node, fact in sorted(facts.items()):
            by_value[fact.get(what, "unknown")].append(node)
        if len(by_value) > 1:
            named = ", ".join(f"{value} on {ranks_text(nodes, 'node')}" for value, nodes in by_value.items())
            differing.append(f"{what}: {named}")
    if differing:
        fix = "install the same on all nodes; NCCL and checkpoints may fail otherwise"
        yield Check("nodes", "versions", "warn", "; ".join(differing), fix)
    else:
        yield Check("nodes", "versions", "ok", f"the same on all nodes: {', '.join(SAME)}")


def _way(ahead: float) -> str:
    return "ahead" if ahead > 0 else "behind"


def _named(pair: tuple[int, int]) -> str:
    return f"{pair[0]}-{pair[1]}"
