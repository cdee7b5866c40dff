import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.vllm_access import launch_vllm_access
from launcher.vllm_access.launch_vllm_access import TOKEN, Access

WEIGHTS = ["/pause", "/collective_rpc", "/update_weight_version", "/weight_info", "/v1/completions", "/health/x"]


def status(path: str, method: str = "POST", client: str | None = "127.0.0.1", **headers: str) -> int:
    """What a server behind it answers, 200 if it is asked at all."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("it does not read bodies")

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, "client": client and (client, 5)}
    asyncio.run(Access(app)(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize("path", WEIGHTS)
def test_nothing_that_samples_or_changes_is_open_to_who_lacks_the_runs_token(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "drawn")
    assert status(path, authorization="Bearer drawn") == 200
    assert status(path, client="10.0.0.7", authorization="Bearer drawn") == 200
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "drawn"}, {"authorization": ""}):
        assert status(path, **headers) == 401


def test_whether_it_lives_anybody_may_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "drawn")
    assert (status("/health", "GET"), status("/metrics", "GET")) == (200, 200)
    assert (status("/health", "POST"), status("/weight_info", "GET")) == (401, 401)


def test_without_a_token_this_hosts_programs_are_let_in_and_neither_others_nor_web_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    assert (status("/pause"), status("/pause", client="::1")) == (200, 200)
    assert (status("/pause", client="10.0.0.7"), status("/pause", client=None)) == (401, 401)
    assert status("/pause", origin="http://evil.example") == 401


def test_a_python_without_our_package_can_load_it() -> None:
    folder = Path(launch_vllm_access.__file__).parent
    code = "import sys; sys.path.append(sys.argv[1]); import launch_vllm_access; print('launcher' in sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, folder], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
