"""Rounds of Flower's deployment on loopback in which clients train nothing. SIZE CLIENTS ROUNDS

One SuperLink, a SuperNode for each client, all on 127.0.0.1 without TLS, apps as their subprocesses: the defaults.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

APP = Path(__file__).with_name("flower_app")
PROGRAMS = Path(sys.executable).parent
WAIT_SECONDS = 1200
LOOK_SECONDS = 0.5


def main() -> None:
    size, clients, rounds = map(int, sys.argv[1:4])
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="warren-bench-")))
        environment = os.environ | {
            "FLWR_HOME": str(folder / "home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        }
        link, *nodes = free_ports(1 + clients)
        address = f"127.0.0.1:{link}"
        (folder / "home").mkdir()
        config = f'[superlink]\ndefault = "bench"\n\n[superlink.bench]\naddress = "{address}"\ninsecure = true\n'
        (folder / "home" / "config.toml").write_text(config)
        app, ends = folder / "app", folder / "ends"
        shutil.copytree(APP, app, ignore=shutil.ignore_patterns("__pycache__"))

        def start(name: str, *options: str) -> subprocess.Popen[bytes]:
            out = stack.enter_context((folder / f"{name}.log").open("wb"))
            command = [str(PROGRAMS / name.partition(".")[0]), "--insecure", *options]
            process = subprocess.Popen(command, env=environment, cwd=folder, stdout=out, stderr=out)
            stack.callback(end, process)
            return process

        server = start("flower-superlink", "--port", str(link), "--disable-runtime-dependency-installation")
        wait_for(lambda: answers(link), folder)
        for number, port in enumerate(nodes):
            start(f"flower-supernode.{number}", "--superlink", address, "--port", str(port))
        told = f'size={size} clients={clients} rounds={rounds} ends="{ends}"'
        command = [str(PROGRAMS / "flwr"), "run", str(app), "bench", "--run-config", told]
        subprocess.run(command, env=environment, cwd=folder, check=True, stdout=sys.stderr)

        def done() -> bool:
            if server.poll() is not None:
                raise RuntimeError("flower-superlink ended")
            return ends.exists() and len(ends.read_text().split()) >= rounds

        wait_for(done, folder)
        times = [float(line) for line in ends.read_text().split()]
    seconds = [after - before for before, after in itertools.pairwise(times)]
    print(json.dumps({"seconds": seconds, "version": f"flwr {version('flwr')}"}))


def wait_for(condition: Callable[[], bool], folder: Path) -> None:
    """Ask until it holds. Raises TimeoutError with the ends of the logs."""
    until = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > until:
            said = "\n".join(f"{path.name}: {path.read_text()[-500:]}" for path in folder.glob("*.log"))
            raise TimeoutError(said)
        time.sleep(LOOK_SECONDS)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


main()
