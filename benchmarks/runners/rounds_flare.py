"""Rounds of FLARE's simulator in which clients train nothing. SIZE CLIENTS ROUNDS

A process for each client, its default: with two for the ten of them a round of 1 MB took 19 s instead of 2.5. It calls
itself again, with `client FILE`, as the script of each client, which notes there when it got each round.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np


def client(noted: Path) -> None:
    import nvflare.client as flare

    flare.init()
    while flare.is_running():
        given = flare.receive()
        if given is None:
            break
        with noted.open("a") as out:
            out.write(f"{given.current_round} {time.time()}\n")
        weights = {name: np.array(array) for name, array in given.params.items()}
        next(iter(weights.values()))[0] += 1
        flare.send(flare.FLModel(params=weights, meta={"NUM_STEPS_CURRENT_ROUND": 1}))


def main() -> None:
    from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
    from nvflare.recipe.sim_env import SimEnv

    size, clients, rounds = map(int, sys.argv[1:4])
    with tempfile.TemporaryDirectory(prefix="warren-bench-") as place:
        folder = Path(place)
        np.save(folder / "first.npy", np.random.default_rng(1).random(size // 4, dtype=np.float32))
        recipe = NumpyFedAvgRecipe(
            name="noop",
            initial_ckpt=str(folder / "first.npy"),
            min_clients=clients,
            num_rounds=rounds,
            train_script=__file__,
            train_args=f"client {folder / 'noted'}",
        )
        environment = SimEnv(num_clients=clients, workspace_root=str(folder / "workspace"))
        recipe.execute(environment)
        noted = [line.split() for line in (folder / "noted").read_text().splitlines()]
    begun: dict[int, float] = {}
    for number, seconds in noted:  # a round's first client
        begun[int(number)] = min(float(seconds), begun.get(int(number), float("inf")))
    periods = [after - before for before, after in itertools.pairwise(begun[number] for number in sorted(begun))]
    print(json.dumps({"seconds": periods, "version": f"nvflare {version('nvflare')}"}))


if __name__ == "__main__":
    if sys.argv[1] == "client":
        client(Path(sys.argv[2]))
    else:
        main()
