"""The page of a service: what each path answers, and that a visitor who leaves early leaves no traceback in the log."""

from __future__ import annotations

import http.client
import socket
import struct
from collections.abc import Iterator

import pytest

from warren.cli.health import serve

RESET = struct.pack("ii", 1, 0)  # close at once, with what came unread


class Standing:
    """What is behind the page."""

    def __init__(self) -> None:
        self.is_ready = True
        self.fails: Exception | None = None

    def ready(self) -> bool:
        return self.is_ready

    def exposition(self) -> tuple[bytes, str]:
        if self.fails is not None:
            raise self.fails
        return b"x" * 5_000_000, "text/plain"


@pytest.fixture
def standing() -> Standing:
    return Standing()


@pytest.fixture
def port(standing: Standing) -> Iterator[int]:
    with serve(0, standing) as opened:
        yield opened


def asked(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_healthy_while_it_runs_and_ready_while_it_works(port: int, standing: Standing) -> None:
    assert [asked(port, path) for path in ("/healthz", "/readyz", "/metrics", "/else")] == [200, 200, 200, 404]
    standing.is_ready = False
    assert [asked(port, path) for path in ("/healthz", "/readyz")] == [200, 503]


def test_a_check_that_leaves_before_the_answer_is_whole_prints_nothing(
    port: int, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as visitor:
            visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            visitor.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert visitor.recv(4) == b"HTTP"
    assert asked(port, "/metrics") == 200  # answered after them
    assert capfd.readouterr().err == ""
    assert caplog.records == []


def test_a_page_that_fails_is_one_record_of_the_log(
    port: int, standing: Standing, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    standing.fails = ValueError("broken meter")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        asked(port, "/metrics")
    assert asked(port, "/healthz") == 200
    assert [record.name for record in caplog.records] == ["warren.health"]
