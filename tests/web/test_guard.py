"""Tests that the guard passes on requests of the page, and refuses all others."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from auxar.web.guard import MOST_BYTES, Guard

LOCAL = ("127.0.0.1", "localhost", "::1")
HOST = "127.0.0.1:7860"


@pytest.fixture
def uploads(tmp_path) -> Path:
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "mine.png").write_text("a picture")
    (tmp_path / "private.png").write_text("another picture")
    (tmp_path / "uploads" / "link.png").symlink_to(tmp_path / "private.png")
    return tmp_path / "uploads"


def answer(
    guard: Guard, path: str, body: bytes = b"", *, kind: str = "http", **headers: str
) -> tuple[int, bytes | None]:
    """The status of a request, and the body that reached the application; None if it was refused."""
    sent: list[dict[str, Any]] = []
    seen: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        seen.append(message["body"])
        assert not message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})

    guard.app = app
    parts = [body[:5], body[5:]]

    async def receive() -> dict[str, Any]:
        own = parts.pop(0)
        return {"type": "http.request", "body": own, "more_body": bool(parts)}

    async def joined() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    found = [(name.encode(), value.encode()) for name, value in ({"host": HOST} | headers).items()]
    scope = {"type": "http", "path": path, "method": "POST", "headers": found}
    asyncio.run(guard(scope, receive if path.endswith("/join") else joined, send))
    return sent[0]["status"], seen[0] if seen else None


def joining(guard: Guard, value: Any) -> int:
    body = json.dumps({"data": [value, None], "fn_index": 4}).encode()
    status, seen = answer(guard, "/gradio_api/queue/join", body)
    assert seen == (body if status == 200 else None)
    return status


def test_uploads_are_passed_on(uploads):
    guard = Guard(None, uploads, LOCAL)  # type: ignore[arg-type]
    for value in (None, 4, "text", {"path": str(uploads / "mine.png"), "meta": {"_type": "gradio.FileData"}}):
        assert joining(guard, value) == 200


def test_other_files_folders_and_addresses_are_refused(uploads):
    guard = Guard(None, uploads, LOCAL)  # type: ignore[arg-type]
    private = str(uploads.parent / "private.png")
    files = (private, str(uploads), str(uploads / "link.png"), str(uploads / ".." / "private.png"), "mine.png", "")
    others = ("http://127.0.0.1/a.png", "https://example.org/a.png", "file:///etc/hostname", "a\0b", 3, None, ["x"])
    for path in (*files, *others):
        named = {"path": path, "meta": {"_type": "gradio.FileData"}}
        for value in ({"path": path}, named, [{"deep": [named]}]):
            assert joining(guard, value) == 400, path


def test_requests_that_are_no_json_or_too_large_are_refused(uploads):
    guard = Guard(None, uploads, LOCAL)  # type: ignore[arg-type]
    for body in (b"{", b"\xff", b"[" * 100_000, b"1" * (MOST_BYTES + 1)):
        assert answer(guard, "/gradio_api/queue/join", body) == (400, None)


@pytest.mark.parametrize("path", ["/gradio_api/run/x", "/gradio_api/api/x", "/gradio_api/call/x", "/monitoring"])
def test_ways_around_the_queue_are_closed(uploads, path):
    guard = Guard(None, uploads, LOCAL)  # type: ignore[arg-type]
    assert answer(guard, path) == (404, None)
    assert answer(guard, "/gradio_api/upload")[0] == 200


def test_only_the_servers_own_names_are_answered(uploads):
    guard = Guard(None, uploads, LOCAL)  # type: ignore[arg-type]
    for host in (HOST, "localhost:1", "[::1]:7860", "127.0.0.1"):
        assert answer(guard, "/", host=host)[0] == 200
    for host in ("evil.example:7860", "127.0.0.1.evil.example", ""):
        assert answer(guard, "/", host=host) == (403, None)
    everyone = Guard(None, uploads, None)  # type: ignore[arg-type]
    assert answer(everyone, "/", host="my.machine:80")[0] == 200


def test_pages_of_other_servers_are_refused(uploads):
    for names in (LOCAL, None):
        guard = Guard(None, uploads, names)  # type: ignore[arg-type]
        assert answer(guard, "/gradio_api/upload", origin=f"http://{HOST}")[0] == 200
        for origin in ("http://evil.example", "http://127.0.0.1:1", "null"):
            assert answer(guard, "/gradio_api/upload", origin=origin) == (403, None)
