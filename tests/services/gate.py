"""A gate before the object store: it knows HTTP, so it can hold or refuse one kind of request and no other."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from servers.process import LOOPBACK, free_port

HEAD_BYTES_MAX = 1 << 16
CHUNK_BYTES = 1 << 16
CONNECT_SECONDS = 10.0


@dataclass(eq=False)
class Held:
    """Requests that wait at the gate, or their answers; `reached` is set when the first one does."""

    method: str
    key: re.Pattern[str]
    what: Literal["request", "answer"]
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, eq=False)
class _Refusal:
    method: str
    key: re.Pattern[str]
    status: int
    code: str


class StoreGate:
    """Passes requests on to the store, but for those that a test holds or refuses. A context manager.

    Keys are matched by `re.search` on the path, the bucket included. HTTP/1.1 without pipelining, bodies with
    a length: what our store client sends.
    """

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.refused = 0  # requests so far
        self._target = (LOOPBACK, target_port)
        self._holds: list[Held] = []
        self._refusals: list[_Refusal] = []
        self._listener: socket.socket | None = None
        self._sockets: set[socket.socket] = set()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def __enter__(self) -> StoreGate:
        self._listener = socket.create_server((LOOPBACK, self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._listener is not None
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for held in self._holds:
            held.released.set()
        for one in list(self._sockets):
            _close(one)

    @contextlib.contextmanager
    def holding(self, method: str, key: str, what: Literal["request", "answer"] = "request") -> Iterator[Held]:
        """While inside, such requests don't reach the store, or are carried out and not answered."""
        held = Held(method, re.compile(key), what)
        self._holds.append(held)
        try:
            yield held
        finally:
            self._holds.remove(held)
            held.released.set()

    @contextlib.contextmanager
    def refusing(self, method: str, key: str, status: int, code: str) -> Iterator[None]:
        """While inside, such requests are answered with this error, and don't reach the store."""
        refusal = _Refusal(method, re.compile(key), status, code)
        self._refusals.append(refusal)
        try:
            yield
        finally:
            self._refusals.remove(refusal)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            store = socket.create_connection(self._target, timeout=CONNECT_SECONDS)
        except OSError:
            _close(client)
            return
        store.settimeout(None)
        self._sockets |= {client, store}
        waiting: list[Held] = []
        threading.Thread(target=_answers, args=(store, client, waiting), daemon=True).start()
        with contextlib.suppress(OSError):
            self._requests(client, store, waiting)
        for one in (client, store):
            _close(one)
            self._sockets.discard(one)

    def _requests(self, client: socket.socket, store: socket.socket, waiting: list[Held]) -> None:
        """Each request in turn, until the client hangs up. `waiting`: what holds the answers of this connection."""
        left = b""
        while True:
            while b"\r\n\r\n" not in left and len(left) < HEAD_BYTES_MAX:
                chunk = client.recv(CHUNK_BYTES)
                if not chunk:
                    return
                left += chunk
            head, _, left = left.partition(b"\r\n\r\n")
            method, path, length = _parsed(head)
            while len(left) < length:
                left += _some(client)
            body, left = left[:length], left[length:]
            refusal = next((r for r in self._refusals if r.method == method and r.key.search(path)), None)
            if refusal is not None:
                self.refused += 1
                client.sendall(_error(refusal, method))
                continue
            for held in [h for h in self._holds if h.method == method and h.key.search(path)]:
                if held.what == "answer":
                    waiting.append(held)
                else:
                    held.reached.set()
                    held.released.wait()
                    if _gone(client):
                        return
            store.sendall(head + b"\r\n\r\n" + body)


def _answers(store: socket.socket, client: socket.socket, waiting: list[Held]) -> None:
    with contextlib.suppress(OSError):
        while chunk := store.recv(CHUNK_BYTES):
            while waiting:
                waiting[0].reached.set()
                waiting[0].released.wait()
                waiting.pop(0)
            client.sendall(chunk)
    _close(client)


def _parsed(head: bytes) -> tuple[str, str, int]:
    """(method, path, length of the body)."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return method, path, int(headers.get("content-length", "0"))


def _some(client: socket.socket) -> bytes:
    chunk = client.recv(CHUNK_BYTES)
    if not chunk:
        raise ConnectionError("the client hung up in the middle of a body")
    return chunk


def _gone(client: socket.socket) -> bool:
    """Whether the sender died while its request was held: then the request dies too."""
    try:
        return client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False


def _error(refusal: _Refusal, method: str) -> bytes:
    body = f"<Error><Code>{refusal.code}</Code><Message>refused by the test</Message></Error>".encode()
    head = f"HTTP/1.1 {refusal.status} Refused\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + (b"" if method == "HEAD" else body)


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
