"""Who may use a vLLM server of a run: whoever knows the run's token, and nobody else.

vLLM's endpoints for weights (`/pause`, `/collective_rpc`, `/update_weight_version` and more) are those of its
development mode, and its own `--api-key` does not protect them. vLLM loads this by `--middleware`. It imports nothing
of ours, so that a Python without our package can load it.
"""

import hmac
import ipaddress
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

TOKEN = "LAUNCH_INFERENCE_TOKEN"
OPEN = ("/health", "/metrics")  # they tell nothing of the model and change nothing
REFUSED = b'{"error": {"message": "the run\'s token is missing or wrong; send it as Authorization: Bearer TOKEN"}}'

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Access:
    """An ASGI middleware. Without a token, in a server that was started by hand, it lets in this host's clients."""

    def __init__(self, app: App) -> None:
        self.app, self.token = app, os.environ.get(TOKEN, "")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self.is_welcome(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(REFUSED)).encode())]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": REFUSED})

    def is_welcome(self, scope: Message) -> bool:
        if scope.get("method") == "GET" and scope["path"] in OPEN:
            return True
        headers = dict(scope["headers"])
        if self.token:
            return hmac.compare_digest(headers.get(b"authorization", b""), f"Bearer {self.token}".encode())
        return b"origin" not in headers and _is_this_host(scope.get("client"))


def _is_this_host(client: tuple[str, int] | None) -> bool:
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
