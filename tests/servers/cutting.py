"""A loopback proxy before an HTTP server that cuts a connection once, after so many bytes or instead of an answer."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable

REQUEST = re.compile(rb"^(GET|PUT|POST|HEAD|DELETE) (\S+) HTTP/1\.1\r\n(.*?)\r\n\r\n", re.DOTALL | re.MULTILINE)


class CuttingProxy:
    """Passes bytes on to one server, and cuts the connection once where it was told to.

    Attributes:
        cut_answer_after: bytes of answers to pass on before the cut.
        cut_body_after: bytes of requests to pass on before the cut.
        lose_answer_to: the cut comes when the server has answered a request that begins so.
        on_request: called with each request's head before it is passed on.
        requests: the heads of all requests, as text.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.cut_answer_after: int | None = None
        self.cut_body_after: int | None = None
        self.lose_answer_to: bytes | None = None
        self.on_request: Callable[[str], None] = lambda head: None
        self.requests: list[str] = []
        self.cuts = 0
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def heads(self, method: str) -> list[str]:
        return [head for head in self.requests if head.startswith(method)]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open += [client, server]
                threading.Thread(target=self._pass, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, to_server: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if to_server:
                    data = self._before_request(data)
                    cut = self.cut_body_after == 0
                else:
                    data, cut = self._before_answer(data)
                target.sendall(data)
                if cut:
                    self.cut_body_after = self.cut_answer_after = self.lose_answer_to = None
                    self.cuts += 1
                    break
        self._shut(source, target)

    def _before_request(self, data: bytes) -> bytes:
        for found in REQUEST.finditer(data):
            self.requests.append(found[0].decode())
            self.on_request(self.requests[-1])
        if self.cut_body_after is not None:
            data = data[: self.cut_body_after]
            self.cut_body_after -= len(data)
        return data

    def _before_answer(self, data: bytes) -> tuple[bytes, bool]:
        if self.lose_answer_to is not None and self.requests[-1].encode().startswith(self.lose_answer_to):
            return b"", True
        if self.cut_answer_after is not None:
            data = data[: self.cut_answer_after]
            self.cut_answer_after -= len(data)
        return data, self.cut_answer_after == 0

    def _shut(self, *ends: socket.socket) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._shut(*self._open)
        for end in self._open:
            end.close()
