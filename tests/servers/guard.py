"""Ends a server when the tests die without ending it: a shell that waits for the end of a pipe that pytest holds."""

from __future__ import annotations

import subprocess


class Guard:
    """While this process lives nothing happens; when it is gone, also by SIGKILL, the group of `leader` is killed.

    Args:
        leader: the first process of a group of its own.
        container: killed too, where the server is one.
    """

    def __init__(self, leader: int, container: str | None = None) -> None:
        orders = f"read _; kill -9 -{leader}" + (f"; docker kill {container}" if container else "")
        self._shell = subprocess.Popen(
            ["sh", "-c", orders],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """The server is about to be ended by its owner. Before that, or its number may be another's."""
        self._shell.kill()
        self._shell.wait()
        if self._shell.stdin is not None:
            self._shell.stdin.close()
