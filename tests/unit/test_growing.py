"""A file that is stored while it is written: begun before it is whole, the same bytes, and nothing of half a file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from warren.storage.body import BLOCK_BYTES, Body
from warren.storage.errors import NeverWhole
from warren.storage.growing import Growing, TakesGrowing
from warren.storage.s3 import S3Address, S3Store

SECONDS = 20.0
SIZE = 5 * BLOCK_BYTES + 7
BYTES = bytes(range(251)) * (SIZE // 251 + 1)
WHOLE = BYTES[:SIZE]


class Writer:
    """The process that writes: as far as a test lets it."""

    def __init__(self, path: Path, **options: float) -> None:
        self._file = path.open("wb", buffering=0)
        self.growing = Growing(path, SIZE, **options)
        self.at = 0

    def write(self, upto: int = SIZE) -> None:
        self._file.write(WHOLE[self.at : upto])
        self.at = upto
        self.growing.grown(upto)

    def finish(self) -> None:
        self.write()
        self._file.close()
        self.growing.finish()


class OneObject:
    """An S3 that keeps one object: only what came whole, and is asked for its beginning by a test."""

    def __init__(self) -> None:
        self.object = b""
        self.arrived = 0  # bytes of the request at hand
        self.cut_at: int | None = None  # how far it reads, once, before it breaks the connection
        self.tries = 0
        self._changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                outer.put(self)

            def do_HEAD(self) -> None:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def put(self, request: BaseHTTPRequestHandler) -> None:
        size, body = int(request.headers["content-length"]), b""
        self._tell(0, tries=1)
        cut, self.cut_at = self.cut_at, None
        while len(body) < size:
            block = request.rfile.read1(min(1 << 16, size - len(body)))
            body += block
            self._tell(len(body))
            if not block or (cut is not None and len(body) >= cut):
                request.close_connection = True
                return
        self.object = body
        request.send_response(200)
        request.send_header("ETag", '"x"')
        request.send_header("Content-Length", "0")
        request.end_headers()

    def wait(self, arrived: Callable[[int, int], bool]) -> None:
        """Until so many bytes, in so many tries, have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: arrived(self.arrived, self.tries), SECONDS), self.arrived

    def _tell(self, arrived: int, tries: int = 0) -> None:
        with self._changed:
            self.arrived, self.tries = arrived, self.tries + tries
            self._changed.notify_all()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def peer() -> Iterator[OneObject]:
    server = OneObject()
    yield server
    server.close()


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def store(peer: OneObject) -> S3Store:
    found = S3Store(S3Address(f"http://127.0.0.1:{peer.server.server_port}", "warren", "secret", "bucket"))
    assert isinstance(found, TakesGrowing)
    return found


def test_a_body_gives_out_what_is_there_and_the_last_byte_only_of_a_whole_file(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "x")
    writer.write(BLOCK_BYTES + 1)
    with Body(writer.growing) as body:
        assert body.size == SIZE
        blocks = body.blocks()
        assert [len(next(blocks)), len(next(blocks))] == [BLOCK_BYTES, 1]
        writer.write()
        given = BLOCK_BYTES + 1
        while given < SIZE - 1:
            given += len(next(blocks))
        writer.finish()
        assert [bytes(block) for block in blocks] == [WHOLE[-1:]]
        assert b"".join(map(bytes, body.blocks())) == WHOLE
        assert b"".join(map(bytes, body.blocks(3, BLOCK_BYTES))) == WHOLE[3 : 3 + BLOCK_BYTES]


def test_a_file_whose_writer_hangs_or_took_it_away_is_given_up(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "x", stall_seconds=0.02)
    writer.write(10)
    with Body(writer.growing) as body, pytest.raises(NeverWhole, match=f"10 of {SIZE} bytes"):
        list(body.blocks())
    (tmp_path / "x").unlink()
    with pytest.raises(NeverWhole, match="No such file"):
        Body(writer.growing)


def test_the_upload_begins_before_the_file_is_whole(
    tmp_path: Path, peer: OneObject, beside: ThreadPoolExecutor
) -> None:
    writer = Writer(tmp_path / "x")
    writer.write(2 * BLOCK_BYTES)
    sending = beside.submit(store(peer).create_growing, "updates/a", writer.growing)
    peer.wait(lambda arrived, _: arrived == 2 * BLOCK_BYTES)
    writer.write()
    peer.wait(lambda arrived, _: arrived == SIZE - 1)
    assert not peer.object
    writer.finish()
    assert sending.result(SECONDS)
    assert (peer.object, peer.tries) == (WHOLE, 1)


@pytest.mark.parametrize("written", [1000, SIZE])
def test_of_a_file_that_is_broken_off_no_object_comes(
    tmp_path: Path, peer: OneObject, beside: ThreadPoolExecutor, written: int
) -> None:
    writer = Writer(tmp_path / "x")
    writer.write(written)
    sending = beside.submit(store(peer).create_growing, "updates/a", writer.growing)
    peer.wait(lambda arrived, _: arrived == min(written, SIZE - 1))
    writer.growing.break_off("its writer was killed")
    with pytest.raises(NeverWhole, match="its writer was killed"):
        sending.result(SECONDS)
    assert (peer.object, peer.tries) == (b"", 1)


def test_a_connection_that_breaks_is_followed_by_a_try_from_the_start(
    tmp_path: Path, peer: OneObject, beside: ThreadPoolExecutor
) -> None:
    writer, peer.cut_at = Writer(tmp_path / "x"), BLOCK_BYTES // 2
    writer.write(BLOCK_BYTES)
    sending = beside.submit(store(peer).create_growing, "updates/a", writer.growing)
    peer.wait(lambda arrived, tries: tries == 1 and arrived >= BLOCK_BYTES // 2)
    writer.write()  # what it sends now meets a connection that is gone
    peer.wait(lambda arrived, tries: tries == 2 and arrived == SIZE - 1)
    writer.finish()
    assert sending.result(SECONDS)
    assert (peer.object, peer.tries) == (WHOLE, 2)
