"""A guard in front of the demo page's server, which refuses requests that the page itself never sends.

Gradio reads any file or address that a request names, if the request is made by hand, and answers requests of pages of
other sites.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
"""An ASGI application."""

CLOSED = ("/gradio_api/run", "/gradio_api/api", "/gradio_api/call", "/monitoring")
"""Beginnings of paths that the page does not use. They would bypass the queue, in which requests wait."""
JOIN = "/queue/join"
"""The end of the path of requests for an action."""
MOST_BYTES = 2**20
"""Maximum size of a request for an action. Uploads have another path."""


class Guard:
    """Passes on the requests that the page sends, and refuses all others.

    `uploads` is the folder of uploaded files: a request may name only these. `names` are the names of the server, such
    as "localhost"; None accepts every name. A request from a page of another server is refused.
    """

    def __init__(self, app: App, uploads: Path, names: Iterable[str] | None) -> None:
        self.app = app
        self.uploads = uploads.resolve()
        self.names = None if names is None else frozenset(names)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not self._is_own(headers.get(b"host", ""), headers.get(b"origin")):
            await _refuse(send, 403, "this page is for its own address only")
        elif scope["type"] == "websocket" or scope["path"].startswith(CLOSED):
            await _refuse(send, 404, "there is no such page")
        elif scope["path"].endswith(JOIN) and scope["method"] == "POST":
            body = await _body(receive)
            if body is None or not self._names_uploads_only(body):
                await _refuse(send, 400, "this request names something else than an uploaded file")
            else:
                await self.app(scope, _again(body, receive), send)
        else:
            await self.app(scope, receive, send)

    def _is_own(self, host: str, origin: str | None) -> bool:
        """Whether a request is for a name of this server, and does not come from a page of another one."""
        if self.names is not None and (urlsplit(f"//{host}").hostname or "") not in self.names:
            return False
        return origin is None or urlsplit(origin).netloc == host

    def _names_uploads_only(self, body: bytes) -> bool:
        try:
            return self._is_fine(json.loads(body))
        except (ValueError, RecursionError):
            return False

    def _is_fine(self, value: Any) -> bool:
        """Whether all files in a request's values are uploads."""
        if isinstance(value, dict):
            # Gradio reads `path` if the dictionary is a file, which further entries tell.
            named = [value["path"]] if "path" in value else []
            return all(map(self._is_upload, named)) and all(map(self._is_fine, value.values()))
        return not isinstance(value, list) or all(map(self._is_fine, value))

    def _is_upload(self, path: Any) -> bool:
        if not isinstance(path, str) or "\0" in path:
            return False
        found = Path(path)
        return found.is_absolute() and found.is_file() and found.resolve().is_relative_to(self.uploads)


async def _body(receive: Receive) -> bytes | None:
    """The body of a request; None if it is too large or the client has gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read to the application, and then the later messages."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


async def _refuse(send: Send, status: int, reason: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": reason.encode()})
