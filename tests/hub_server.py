"""A Hugging Face hub on the loopback interface: as much of its API as huggingface_hub, transformers and datasets use.

Repositories are directories. HF_ENDPOINT names the server.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_tests"


class Hub(ThreadingHTTPServer):
    """`models` and `datasets` are directories by id; the gated ones are for who sends TOKEN."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, models: Mapping[str, Path], datasets: Mapping[str, Path], gated: tuple[str, ...]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = {"models": models, "datasets": datasets}
        self.gated = gated
        self.served: list[str] = []  # the files that were downloaded, each as ID/NAME
        self.is_ill = False  # whether it answers 503 to everything
        self.has_only_files = False  # whether it answers 501 where there is none, as a mirror may

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def environment(self, cache: Path) -> dict[str, str]:
        """What makes a program use this hub, with an empty cache."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""


@contextmanager
def serving(
    models: Mapping[str, Path] | None = None, datasets: Mapping[str, Path] | None = None, gated: tuple[str, ...] = ()
) -> Iterator[Hub]:
    server = Hub(models or {}, datasets or {}, gated)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = parse_qs(self.rfile.read(length).decode()) if length else {}
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/") if part]
        try:
            self._check_answers()
            if parts[:1] == ["api"]:
                self._json(self._api(parts[1], parts[2:], body))
            else:
                self._file(parts)
        except _Refused as refused:
            self._send(refused.status, b"", {"X-Error-Code": refused.code, "X-Error-Message": str(refused)})

    do_HEAD = do_POST = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """The tests' output is not the place for it."""

    def _repository(self, kind: str, parts: list[str]) -> tuple[str, Path, list[str]]:
        """Its id and directory, and what follows in the path. The hub says 401 to strangers who guess."""
        known = self.server.repositories[kind]
        for count in (2, 1):
            if (name := "/".join(parts[:count])) in known:
                return name, known[name], parts[count:]
        if self._is_known:
            raise _Refused(404, "RepoNotFound", "Repository not found")
        raise _Refused(401, "", "Invalid username or password.")

    def _check_answers(self) -> None:
        if self.server.is_ill:
            raise _Refused(503, "", "Service Unavailable")
        if self.server.has_only_files and self.path == "/":
            raise _Refused(501, "", "Not Implemented")
        if self.headers.get("Authorization") not in (None, f"Bearer {TOKEN}"):
            raise _Refused(401, "", "Invalid credentials in Authorization header")

    @property
    def _is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _file(self, parts: list[str]) -> None:
        kind, parts = ("datasets", parts[1:]) if parts[:1] == ["datasets"] else ("models", parts)
        name, directory, (_, revision, *rest) = self._repository(kind, parts)
        if name in self.server.gated and not self._is_known:
            message = f"Access to {kind[:-1]} {name} is restricted. You must have access to it and be authenticated."
            raise _Refused(401, "GatedRepo", message)
        _check_revision(revision)
        path = directory.joinpath(*rest)
        if not path.is_file():
            raise _Refused(404, "EntryNotFound", "Entry not found")
        content = path.read_bytes()
        about = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if self.command == "GET":
            self.server.served.append(f"{name}/{'/'.join(rest)}")
        status = 200
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            end = int(last) + 1 if last else len(content)
            about["Content-Range"] = f"bytes {first}-{min(end, len(content)) - 1}/{len(content)}"
            status, content = 206, content[int(first) : end]
        self._send(status, content, about)

    def _api(self, kind: str, parts: list[str], body: dict[str, list[str]]) -> Any:
        if kind not in self.server.repositories:
            raise _Refused(404, "", "no such endpoint")
        name, directory, rest = self._repository(kind, parts)
        what, *rest = rest or ["info"]
        if what in ("tree", "revision", "paths-info") and rest:
            _check_revision(rest.pop(0))
        entries = _entries(directory)
        if what == "tree":
            return _below(entries, "/".join(rest), "recursive=true" in self.path.lower())
        if what == "paths-info":
            return [entry for entry in entries if entry["path"] in body.get("paths", [])]
        if what in ("info", "revision"):
            siblings = [{"rfilename": entry["path"]} for entry in entries if entry["type"] == "file"]
            gated = "manual" if name in self.server.gated else False
            about = {"id": name, "sha": COMMIT, "private": False, "disabled": False, "gated": gated, "tags": []}
            return about | {"modelId": name, "downloads": 0, "likes": 0, "siblings": siblings}
        raise _Refused(404, "", "no such endpoint")

    def _json(self, answer: Any) -> None:
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _check_revision(revision: str) -> None:
    if revision not in ("main", COMMIT):
        raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")


def _entries(directory: Path) -> list[dict[str, Any]]:
    found = []
    for folder, folders, files in os.walk(directory):
        inside = Path(folder).relative_to(directory)
        found += [{"type": "directory", "path": str(inside / name), "oid": COMMIT, "size": 0} for name in folders]
        for name in files:
            content = Path(folder, name).read_bytes()
            oid = hashlib.sha1(content).hexdigest()
            found.append({"type": "file", "path": str(inside / name), "oid": oid, "size": len(content)})
    return sorted(found, key=lambda entry: entry["path"])


def _below(entries: list[dict[str, Any]], folder: str, is_recursive: bool) -> list[dict[str, Any]]:
    prefix = f"{folder}/" if folder else ""
    inside = [entry for entry in entries if entry["path"].startswith(prefix)]
    if folder and not inside:
        raise _Refused(404, "EntryNotFound", f"{folder} does not exist")
    return [entry for entry in inside if is_recursive or "/" not in entry["path"].removeprefix(prefix)]
