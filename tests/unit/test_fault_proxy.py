"""The proxy that fault tests put between Warren and a server."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from servers.process import LOOPBACK, await_condition
from servers.proxy import FaultProxy


def _echo(one: socket.socket) -> None:
    with one, contextlib.suppress(OSError):
        while chunk := one.recv(1 << 16):
            one.sendall(chunk)


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """A proxy before a server that answers with what it got."""
    listener = socket.create_server((LOOPBACK, 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=_echo, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    with FaultProxy(listener.getsockname()[1]) as proxy:
        yield proxy
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection((LOOPBACK, proxy.port), timeout=10)


def send_all(one: socket.socket, body: bytes) -> None:
    one.sendall(body)
    one.shutdown(socket.SHUT_WR)


def read(one: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count and (chunk := one.recv(count - len(got))):
        got += chunk
    return got


def test_it_forwards_both_ways_and_the_end_of_each_side(proxy: FaultProxy) -> None:
    body = bytes(range(256)) * 4096
    with connect(proxy) as one:
        sender = threading.Thread(target=send_all, args=(one, body))
        sender.start()
        assert read(one, len(body) + 1) == body
        sender.join()
    await_condition(lambda: proxy.connections == 0, 10, "the connection is forgotten")


def test_a_cut_resets_what_is_open_and_takes_what_is_new(proxy: FaultProxy) -> None:
    with connect(proxy) as one:
        one.sendall(b"x")
        assert read(one, 1) == b"x"
        proxy.cut()
        with contextlib.suppress(ConnectionResetError):
            assert one.recv(1) == b""
    with connect(proxy) as again:
        again.sendall(b"y")
        assert read(again, 1) == b"y"
    assert proxy.accepted == 2


def test_while_stalled_nothing_passes_and_afterwards_all_of_it(proxy: FaultProxy) -> None:
    with connect(proxy) as one:
        with proxy.stalled():
            one.sendall(b"held back")
            one.settimeout(0.3)
            with pytest.raises(TimeoutError):
                one.recv(1)
        one.settimeout(10)
        assert read(one, 9) == b"held back"


def test_refused_connections_fail_until_it_accepts_again(proxy: FaultProxy) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.accept()
    with connect(proxy) as one:
        one.sendall(b"z")
        assert read(one, 1) == b"z"


def test_a_connection_is_cut_after_so_many_bytes_once(proxy: FaultProxy) -> None:
    proxy.cut_after(100_000)
    with connect(proxy) as one, pytest.raises(ConnectionError):
        one.sendall(bytes(50_000_000))
    with connect(proxy) as again:
        body = bytes(200_000)
        threading.Thread(target=again.sendall, args=(body,)).start()
        assert read(again, len(body)) == body
