"""A loopback TCP proxy that fails on command: cut, stalled, refused, or cut after so many bytes."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

from .process import LOOPBACK, free_port

CHUNK_BYTES = 1 << 16
CONNECT_SECONDS = 10.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST


class FaultProxy:
    """Forwards one port of the loopback to another, and breaks as told. Verbs may be called from any thread.

    Use it as a context manager; clients connect to `port`. Nothing is dropped from a connection that lives:
    while it stalls, bytes wait, as TCP would send them again.
    """

    def __init__(self, target_port: int, target_host: str = LOOPBACK) -> None:
        self.target = (target_host, target_port)
        self.port = free_port()
        self.accepted = 0  # connections so far
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._pairs: set[_Pair] = set()
        self._cut_after: int | None = None
        self._listener: socket.socket | None = None

    def __enter__(self) -> FaultProxy:
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()

    def accept(self) -> None:
        """Take connections (again)."""
        if self._listener is not None:
            return
        self._listener = socket.create_server((LOOPBACK, self.port))
        threading.Thread(target=self._take, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Refuse new connections and cut those there are, as a dead server does."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
            listener.close()
        self.cut()
        self._flowing.set()

    def cut(self) -> None:
        """Reset all connections; new ones are taken."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._drop(pair)

    def cut_after(self, bytes_up: int) -> None:
        """Reset the next connection that has sent this many bytes to the server, once."""
        self._cut_after = bytes_up

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """While inside, connections stay open, new ones are taken, and no byte passes either way."""
        self._flowing.clear()
        try:
            yield
        finally:
            self._flowing.set()

    @property
    def connections(self) -> int:
        """How many are open now."""
        with self._lock:
            return len(self._pairs)

    def _take(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # closed by refuse()
            self.accepted += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self.target, timeout=CONNECT_SECONDS)
        except OSError:
            _reset(client)
            return
        server.settimeout(None)
        pair = _Pair(client, server)
        with self._lock:
            self._pairs.add(pair)
        down = threading.Thread(target=self._pump, args=(pair, server, client, False), daemon=True)
        down.start()
        self._pump(pair, client, server, True)

    def _pump(self, pair: _Pair, source: socket.socket, sink: socket.socket, up: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                self._flowing.wait()
                limit = self._cut_after if up else None
                if limit is not None and passed + len(chunk) >= limit:
                    self._cut_after = None
                    sink.sendall(chunk[: limit - passed])
                    break
                sink.sendall(chunk)
                passed += len(chunk)
            else:
                with contextlib.suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)  # one side has said all: the other may still speak
                if not pair.one_side_done():
                    self._end(pair)
                return
        self._drop(pair)

    def _end(self, pair: _Pair) -> None:
        """Close in order: a reset would throw away what the client has not yet read."""
        with self._lock:
            self._pairs.discard(pair)
        pair.client.close()
        pair.server.close()

    def _drop(self, pair: _Pair) -> None:
        with self._lock:
            self._pairs.discard(pair)
        _reset(pair.client)
        _reset(pair.server)


class _Pair:
    """The two sockets of one connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self._lock = threading.Lock()
        self._done = 0

    def one_side_done(self) -> bool:
        """Note that one direction has ended; whether the other still runs."""
        with self._lock:
            self._done += 1
            return self._done == 1


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        one.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads it
    one.close()
