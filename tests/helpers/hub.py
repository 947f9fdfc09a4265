"""A stand-in for the HTTP interface of the Hugging Face hub, on this machine, where commits have files of all sizes."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_a_user_who_may_write"


class Repository:
    """A repository: its commits, oldest first, each with the contents of all files by path."""

    def __init__(self, *, private: bool) -> None:
        self.private = private
        self.commits: list[tuple[str, dict[str, bytes]]] = []
        self.commit({})

    def commit(self, files: dict[str, bytes]) -> str:
        name = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits.append((name, files))
        return name

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1]
        return next((each for each in self.commits if each[0] == revision), None)


class Hub(ThreadingHTTPServer):
    """The hub."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Requests(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Requests are not printed."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        if path == "/api/whoami-v2":
            if self.headers.get("Authorization") == f"Bearer {TOKEN}":
                self._answer({"type": "user", "name": "someone"})
            else:
                self._refuse(401, None, "Invalid user token")
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            if (commit := self._commit(found[1], found[2] or "main")) is not None:
                siblings = [{"rfilename": name} for name in commit[1]]
                private = self.server.repositories[found[1]].private
                self._answer({"id": found[1], "sha": commit[0], "private": private, "siblings": siblings})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            if (commit := self._commit(found[1], found[2])) is not None:
                self._answer([self._entry(name, content) for name, content in commit[1].items()])
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if (commit := self._commit(found[1], found[2])) is not None:
                self._file(commit[0], found[3], commit[1].get(found[3]))
        else:
            self._refuse(404, "EntryNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"POST {path}")
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)) if "Content-Length" in self.headers else b""
        if not body and self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        if path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._refuse(401, None, "Invalid username or password.")
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'user'}/{asked['name']}"
            if name in self.server.repositories:
                self._refuse(409, None, "You already created this model repo")
                return
            self.server.repositories[name] = Repository(
                private=asked.get("private") or asked.get("visibility") == "private"
            )
            self._answer({"url": f"{self.server.address}/{name}", "name": name})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            facts = {"uploadMode": "regular", "shouldIgnore": False}
            self._answer({"files": [{"path": file["path"]} | facts for file in json.loads(body)["files"]]})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            self._answer({"success": True, **self._committed(found[1], body)})
        else:
            self._refuse(404, None)

    def _committed(self, name: str, body: bytes) -> dict[str, str]:
        repository = self.server.repositories[name]
        files = dict(repository.commits[-1][1])
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        commit = repository.commit(files)
        return {"commitOid": commit, "commitUrl": f"{self.server.address}/{name}/commit/{commit}"}

    def _commit(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit of a repository; None after an answer if there is none, or if it is not accessible."""
        authorization = self.headers.get("Authorization")
        if authorization not in (None, f"Bearer {TOKEN}"):
            self._refuse(401, None, "Invalid credentials in Authorization header")
            return None
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and authorization is None):
            self._refuse(401 if authorization is None else 404, "RepoNotFound", "Repository not found")
            return None
        if (commit := repository.at(revision)) is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def _entry(self, name: str, content: bytes) -> dict[str, Any]:
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def _file(self, commit: str, name: str, content: bytes | None) -> None:
        if content is None:
            self._refuse(404, "EntryNotFound")
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _refuse(self, status: int, code: str | None, message: str = "Not found") -> None:
        headers = {"X-Error-Message": message} | ({} if code is None else {"X-Error-Code": code})
        self._answer({"error": message}, status, headers)

    def _answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in (
            {"Content-Type": "application/json", "Content-Length": str(len(body))} | (headers or {})
        ).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serving() -> Iterator[Hub]:
    """Serves a new hub until the end of the `with` block."""
    hub = Hub()
    thread = Thread(target=hub.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
