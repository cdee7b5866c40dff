"""A server on the loopback that takes messages: well, badly or never."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Webhook:
    """What came, and where to send it. `status` 0: it takes the connection and never answers."""

    def __init__(self, status: int) -> None:
        self.status, self.came, self.over = status, list[dict[str, Any]](), threading.Event()
        self.url = ""


@contextmanager
def webhook(status: int = 200) -> Iterator[Webhook]:
    found = Webhook(status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.came.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            if not found.status:
                found.over.wait(60)
                return
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}/services/T0/B0/sesame"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.over.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
