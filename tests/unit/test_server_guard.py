"""Servers of the tests do not outlive them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from servers.guard import Guard
from servers.process import await_condition

SERVERS = Path(__file__).resolve().parents[1]
OWNER = """
import subprocess, sys, time
from servers.guard import Guard
server = subprocess.Popen(["sleep", "600"], start_new_session=True)
guard = Guard(server.pid)
print(server.pid, flush=True)
time.sleep(600)
"""


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_server_ends_when_the_tests_are_killed() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], env={**os.environ, "PYTHONPATH": str(SERVERS)}, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    server = int(owner.stdout.readline())
    assert not _gone(server)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    await_condition(lambda: _gone(server), 10, "the server is gone")


def test_a_guard_that_was_dismissed_kills_nothing() -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as server:
        Guard(server.pid).dismiss()
        assert server.poll() is None
        server.kill()
