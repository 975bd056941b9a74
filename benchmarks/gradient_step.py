"""One synchronous step of a gradients job: four trainers, 1.2 million parameters, over real servers.

    python benchmarks/gradient_step.py             # fp32 and bf16: some minutes
    python benchmarks/gradient_step.py --short     # fp32, saved below .cache/bench for compare.py

A step's seconds are those from one manifest to the next. Beside it stand its floor (as many bytes through the same
store: floor.py) and an all-reduce of the same tensors by gloo among four processes on this machine, which keeps no
checkpoint and loses the step with any of them. The three take turns (turns.py).
Each client's gradient is of eight rows; what computing it takes in one thread stands beside the rest. The full form
also has Flower move as many bytes (float32), where `make peers` installed it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import floor
import peers
import report
from rig import Rig, rig
from round_overhead import DTYPES, WARM_UP, over_servers
from turns import in_turns, seconds

NAME = "gradient_step"
TASK = Path(__file__).with_name("gradient_task.py")
FLOWER = ("flower-simulation", "flower-deployment")
TRAINERS = 4
PARAMETERS = 1_189_410
STEPS = 30  # measured
GLOO_SECONDS = 120


def job(dtype: str, steps: int) -> dict[str, Any]:
    return {
        "task": str(TASK),
        "update": "gradients",
        "clients": TRAINERS,
        "rounds": steps,
        "quorum": "100%",
        "deadline": "10m",
        "keep_updates": 0,
        "keep_checkpoints": "2",
        "params": {"dtype": dtype},
        "train": {"batch_size": 8, "lr": 0.01},
        "evaluate": {"every": 0, "share": 0.0, "held_out": False},
    }


def all_reduce(place: int, meeting: str, dtype: str, steps: int, said: Connection) -> None:
    """A process of gloo's: the seconds of each all-reduce of the model's tensors, from a barrier on."""
    import torch
    import torch.distributed as dist
    from gradient_task import model

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=place, world_size=TRAINERS)
    tensors = [torch.ones_like(parameter) for parameter in model(dtype).parameters()]
    seconds = []
    for _ in range(WARM_UP + steps):
        dist.barrier()
        begun = time.perf_counter()
        for tensor in tensors:
            dist.all_reduce(tensor)
            tensor.div_(TRAINERS)
        seconds.append(time.perf_counter() - begun)
    dist.destroy_process_group()
    said.send(seconds[WARM_UP:])


def gloo(dtype: str, steps: int) -> list[float]:
    """Seconds of each step, of the process that took longest. Raises RuntimeError if one ends early."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(TRAINERS)]
    with tempfile.TemporaryDirectory(prefix="warren-bench-") as folder:
        meeting = f"{folder}/meeting"
        processes = [
            context.Process(target=all_reduce, args=(place, meeting, dtype, steps, pipe[1]), daemon=True)
            for place, pipe in enumerate(pipes)
        ]
        for process in processes:
            process.start()
        for _, theirs in pipes:
            theirs.close()  # only the process itself holds it now: its end is an end of file
        try:
            found = [_heard(pipe[0]) for pipe in pipes]
        finally:
            for process in processes:
                process.terminate()
                process.join()
    return [max(step) for step in zip(*found, strict=True)]


def _heard(pipe: Connection) -> list[float]:
    if not pipe.poll(GLOO_SECONDS):
        raise RuntimeError(f"gloo's processes said nothing for {GLOO_SECONDS} s")
    try:
        seconds: list[float] = pipe.recv()
    except EOFError:
        raise RuntimeError("a process of gloo's ended early") from None
    return seconds


def computing(dtype: str) -> list[float]:
    """Seconds of one gradient of a client's rows, in one thread; in this process."""
    import torch
    from gradient_task import ROWS, WIDTHS, model
    from torch.nn import functional

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    net = model(dtype)
    rows, labels = torch.randn(ROWS, WIDTHS[0]), torch.arange(ROWS) % WIDTHS[-1]
    seconds = []
    for _ in range(WARM_UP + STEPS):
        begun = time.perf_counter()
        net.zero_grad()
        functional.cross_entropy(net(rows), labels).backward()  # type: ignore[no-untyped-call]
        seconds.append(time.perf_counter() - begun)
    torch.set_num_threads(threads)
    return seconds[WARM_UP:]


def measure(on: Rig, dtype: str) -> dict[str, Any]:
    about = report.machine()
    full = DTYPES[dtype]
    size = PARAMETERS * (4 if dtype == "fp32" else 2)
    same: dict[str, Any] = {"size": size, "dtype": full, "clients": TRAINERS, "trainers": TRAINERS}
    ours, (floors, reduced) = in_turns(
        lambda steps: over_servers(on, job(full, WARM_UP + steps)),
        [
            lambda steps: floor.measure(on, **same, rounds=WARM_UP + steps),
            lambda steps: {"seconds": gloo(full, steps)},
        ],
        rounds=STEPS,
    )
    of_floor, of_ours = seconds(floors, WARM_UP), seconds(ours)
    row: dict[str, Any] = {"dtype": dtype, "floor": report.spread(of_floor), "servers": report.spread(of_ours)}
    row |= {"gloo": report.spread(seconds(reduced)), "computing": report.spread(computing(full))}
    row["ratio"] = round(row["servers"]["median"] / row["floor"]["median"], 2)
    return row | {"peak_mib": ours[-1]["peak_mib"], "machine": about}


def as_table(rows: list[dict[str, Any]]) -> str:
    columns = ["4 trainers", "floor, s a step", "servers, s a step", "ratio", "gloo all-reduce, s", "one gradient, s"]
    columns += [f"{peers.PEERS[name].label}, s; MiB" for name in FLOWER]
    lines = [
        [
            row["dtype"],
            report.shown(row["floor"]),
            report.shown(row["servers"]),
            f"{row['ratio']:.2f}",
            report.shown(row["gloo"]),
            report.shown(row["computing"]),
            *(peers.cell(row.get(name)) for name in FLOWER),
        ]
        for row in rows
    ]
    return report.table(columns, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fp32")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with rig(trainers=TRAINERS) as on:
        for dtype in list(DTYPES)[: 1 if given.short else None]:
            rows.append(measure(on, dtype))
            if not given.short and dtype == "fp32":
                rows[-1] |= {name: peers.run(name, 4 * PARAMETERS, TRAINERS) for name in FLOWER}
            print(as_table(rows[-1:]).splitlines()[-1], flush=True)
            report.save(NAME, {"rows": rows, "machine": rows[0]["machine"]}, short=given.short)
    print(as_table(rows))


if __name__ == "__main__":
    main()
