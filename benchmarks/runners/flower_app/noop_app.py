"""A Flower app whose clients train nothing: ten arrays in, one number changed, ten arrays out.

The server writes when each round ended (seconds since the epoch) into the file `ends` of its run configuration.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

TENSORS = 10

client = ClientApp()
server = ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    arrays = {name: array.numpy().copy() for name, array in message.content["arrays"].items()}
    arrays["part0"][0] += 1
    record = ArrayRecord({name: Array(array) for name, array in arrays.items()})
    content = RecordDict({"arrays": record, "metrics": MetricRecord({"num-examples": 1})})
    return Message(content=content, reply_to=message)


class Timed(FedAvg):
    """FedAvg that notes when a round's average is there."""

    def __init__(self, clients: int, ends: Path) -> None:
        super().__init__(
            fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients
        )
        self._ends = ends

    def aggregate_train(self, *arguments: Any, **named: Any) -> Any:
        found = super().aggregate_train(*arguments, **named)
        with self._ends.open("a") as out:
            out.write(f"{time.time()}\n")
        return found


def serve(grid: Grid, *, size: int, clients: int, rounds: int, ends: str) -> None:
    first = {f"part{number}": np.random.rand(size // 4 // TENSORS).astype(np.float32) for number in range(TENSORS)}
    arrays = ArrayRecord({name: Array(array) for name, array in first.items()})
    Timed(clients, Path(ends)).start(grid=grid, initial_arrays=arrays, num_rounds=rounds)


@server.main()
def main(grid: Grid, context: Context) -> None:
    told = context.run_config
    serve(grid, size=told["size"], clients=told["clients"], rounds=told["rounds"], ends=told["ends"])
