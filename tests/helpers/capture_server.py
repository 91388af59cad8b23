"""A local server of one file, which can break off, ignore ranges, or send something else."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from moespac_nb.datasets.captures import PublicCapture

CONTENT = np.random.default_rng(0).bytes(300_000)


class Server(ThreadingHTTPServer):
    """Serves `CONTENT`; can break off, ignore ranges, or send something else."""

    content = CONTENT
    break_after: int | None = None
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:  # the base class's name
        asked = self.headers["Range"]
        self.server.asked.append(asked)
        if not self.path.endswith("/capture.jsonl"):
            self.send_error(404)
            return
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        content = self.server.content[first:]
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.break_after])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[tuple[Server, tuple[PublicCapture, ...]]]:
    """A running server, and a registry with its file and with one that is gone."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/capture.jsonl"
    checksum = hashlib.sha256(CONTENT).hexdigest()
    entry = PublicCapture("made-up", "bytes", address, "0" * 40, len(CONTENT), checksum, "none", "none")
    gone = PublicCapture("gone", "bytes", address + ".gone", "0" * 40, 9, checksum, "none", "none")
    try:
        yield server, (entry, gone)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
