"""Rounds of Flower's simulation in which clients train nothing. SIZE CLIENTS ROUNDS WORKERS"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["PYTHONPATH"] = str(Path(__file__).with_name("flower_app"))  # of the actors
sys.path.insert(0, os.environ["PYTHONPATH"])

import noop_app
from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation

SIZE, CLIENTS, ROUNDS, WORKERS = map(int, sys.argv[1:5])

server = ServerApp()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="warren-bench-") as folder:
        os.environ["FLWR_HOME"] = folder
        ends = Path(folder) / "ends"

        @server.main()
        def serve(grid: Any, context: Any) -> None:
            noop_app.serve(grid, size=SIZE, clients=CLIENTS, rounds=ROUNDS, ends=str(ends))

        run_simulation(
            server_app=server,
            client_app=noop_app.client,
            num_supernodes=CLIENTS,
            backend_config={
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
                "init_args": {"num_cpus": WORKERS, "include_dashboard": False},
            },
        )
        times = [float(line) for line in ends.read_text().split()]
    seconds = [after - before for before, after in itertools.pairwise(times)]
    print(json.dumps({"seconds": seconds, "version": f"flwr {version('flwr')}"}))


main()
