"""A W&B server of the tests' own on the loopback interface, that can also be the kind that fails."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Behaviour = Literal["answers", "hangs", "fails"]
KEY = "0123456789abcdef" * 2 + "01234567"


class WandbServer(ThreadingHTTPServer):
    """Keeps the requests it was sent, and answers just what a run needs."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, behaviour: Behaviour = "answers", port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.behaviour = behaviour
        self.over = threading.Event()
        self.requests: list[tuple[str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""

    def operations(self, name: str) -> list[dict[str, Any]]:
        """The variables of the GraphQL requests with this name."""
        return [body["variables"] for _, body in self.requests if body.get("operationName") == name]

    def history(self) -> list[dict[str, Any]]:
        """The steps that were streamed."""
        files = [body["files"] for path, body in self.requests if path.endswith("/file_stream") and body.get("files")]
        chunks = [each["wandb-history.jsonl"]["content"] for each in files if "wandb-history.jsonl" in each]
        return [json.loads(line) for chunk in chunks for line in chunk]

    def exit_codes(self) -> list[int]:
        return [body["exitcode"] for _, body in self.requests if body.get("exitcode") is not None]


@contextmanager
def serving(behaviour: Behaviour = "answers", port: int = 0) -> Iterator[WandbServer]:
    server = WandbServer(behaviour, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.loads(raw) if raw[:1] == b"{" else {}
        self.server.requests.append((self.path, body))
        if self.server.behaviour == "hangs":
            self.server.over.wait()
        failed = self.server.behaviour != "answers"
        self._answer(500 if failed else 200, {} if failed else _answer(self.path, body, self.server.url))

    do_PUT = do_GET = do_POST

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def _answer(path: str, body: dict[str, Any], url: str) -> dict[str, Any]:
    if path != "/graphql":
        return {}
    variables = body.get("variables") or {}
    project = {"id": "P", "name": variables.get("project"), "entity": {"id": "E", "name": "team"}}
    files = [{"name": name, "uploadUrl": f"{url}/upload/{name}"} for name in variables.get("files") or ()]
    bucket = {"id": "B", "name": variables.get("name"), "displayName": variables.get("displayName"), "config": "{}"}
    answers = {
        "Viewer": {"viewer": {"id": "V", "entity": "team", "username": "u", "flags": "{}", "teams": {"edges": []}}},
        "RunResumeStatus": {"model": None},
        "UpsertBucket": {"upsertBucket": {"bucket": {**bucket, "project": project}, "inserted": True}},
        "CreateRunFiles": {"createRunFiles": {"runID": "B", "uploadHeaders": [], "files": files}},
        "ServerFeaturesQuery": {"serverInfo": {"features": []}},
    }
    return {"data": answers.get(body.get("operationName") or "", {})}
