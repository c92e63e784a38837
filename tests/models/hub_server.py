"""A small hub of models on this machine, which speaks as much of the Hugging Face hub's API as is used."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE_BYTES = 1000  # from which on a file is known by its SHA-256 and not by git's digest


class Hub:
    """One repository under its name, and what goes wrong with it."""

    def __init__(self, repository: str, files: dict[str, bytes]) -> None:
        self.repository = repository
        self.files = files
        # What is delivered in the place of a file.
        self.delivered: dict[str, bytes] = {}
        # Files of which the connection breaks off after so many bytes, once.
        self.broken_after: dict[str, int] = {}
        # Statuses that are answered to everything that is asked of a file.
        self.refused: dict[str, int] = {}
        # How often the content of each file was asked for, and where in it these requests began.
        self.gets: Counter[str] = Counter()
        self.starts: list[tuple[str, int]] = []
        self.endpoint = ""

    def describe(self) -> bytes:
        siblings = [_sibling(name, content) for name, content in self.files.items()]
        return json.dumps({"id": self.repository, "sha": COMMIT, "siblings": siblings}).encode()


def _sibling(name: str, content: bytes) -> dict[str, object]:
    sibling: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": _git_digest(content)}
    if len(content) >= LARGE_BYTES:
        sha256 = hashlib.sha256(content).hexdigest()
        sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 133}
    return sibling


def _git_digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()  # noqa: S324 - as git does


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        hub, path = self.hub, urlsplit(self.path).path
        name = path.rsplit("/", 1)[-1]
        if path.startswith(f"/api/models/{hub.repository}"):
            self._send(200, hub.describe(), with_body=with_body)
        elif path != f"/{hub.repository}/resolve/{COMMIT}/{name}" or name not in hub.files:
            self.send_response(404)
            code = "EntryNotFound" if path.startswith(f"/{hub.repository}/") else "RepoNotFound"
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif name in hub.refused:
            self._send(hub.refused[name], b"", with_body=False)
        else:
            self._send_file(name, with_body=with_body)

    def _send_file(self, name: str, *, with_body: bool) -> None:
        content = self.hub.delivered.get(name, self.hub.files[name])
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        status = 206 if start else 200
        if with_body:
            self.hub.gets[name] += 1
            self.hub.starts.append((name, start))
        breaks_after = self.hub.broken_after.pop(name, None) if with_body else None
        self._send(
            status, content[start:], with_body=with_body, breaks_after=breaks_after, etag=_git_digest(content)
        )

    def _send(
        self,
        status: int,
        body: bytes,
        *,
        with_body: bool,
        breaks_after: int | None = None,
        etag: str = "",
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        if with_body:
            self.wfile.write(body[:breaks_after])
        if breaks_after is not None:
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def running_hub(hub: Hub) -> Iterator[Hub]:
    """Let a hub be reached under its ``endpoint``."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
