"""A service's own page: /healthz (it runs), /readyz (it serves), /metrics (Prometheus)."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from .errors import UsageMistake

REQUEST_SECONDS = 5.0  # a client that says nothing is let go
TEXT = "text/plain; charset=utf-8"

log = logging.getLogger("warren.health")


class Shown(Protocol):
    """What is behind the page."""

    def ready(self) -> bool: ...
    def exposition(self) -> tuple[bytes, str]:
        """The metrics, and their content type."""
        ...


@contextmanager
def serve(port: int, shown: Shown) -> Iterator[int]:
    """Answer on this port (0: any) until the block ends; gives the port. Raises UsageMistake."""
    host = os.environ.get("WARREN_METRICS_HOST") or "127.0.0.1"
    try:
        server = _Server((host, port), _handler(shown))
    except OSError as error:
        raise UsageMistake(f"--metrics-port {port}: {host}:{port}: {error.strerror}.") from None
    thread = threading.Thread(target=server.serve_forever, name="warren-metrics", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A health check reads one line and goes: no news, and nothing to print beside the log's own lines."""
        if not isinstance(sys.exception(), ConnectionError):
            log.exception("the page of health and metrics failed")


def _handler(shown: Shown) -> type[BaseHTTPRequestHandler]:
    class Page(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS
        server_version, sys_version = "warren", ""

        def do_GET(self) -> None:
            status, body, kind = _answer(self.path.partition("?")[0], shown)
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: it is asked every few seconds."""

    return Page


def _answer(path: str, shown: Shown) -> tuple[int, bytes, str]:
    if path == "/healthz":
        return 200, b"ok\n", TEXT
    if path == "/readyz":
        return (200, b"ready\n", TEXT) if shown.ready() else (503, b"not ready: the servers do not answer\n", TEXT)
    if path == "/metrics":
        return 200, *shown.exposition()
    return 404, b"here are /healthz, /readyz and /metrics\n", TEXT
