"""1,000 virtual clients on one trainer: what a round costs beside the bare loop over the same clients.

    python benchmarks/virtual_clients.py            # 1,000 clients of 60 MNIST images, a small CNN: some minutes
    python benchmarks/virtual_clients.py --short    # 100 of them, saved below .cache/bench for compare.py

The bare loop is what one would write by hand: one process, one thread, the model and the data built once; for each
client the global weights copied in, a fresh torch.optim.SGD, one epoch in batches of 10, its weights added to a sum.
It has no file, no digest, no check and no message. Ours is the embedded run with one trainer of one thread, all of it:
each update written, digested, checked, folded, named in a manifest. Bare, ours, bare again, in one run. Beside the
wall clock stands the processor's time of all processes, which others on the machine disturb less.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mnist_files
import psutil
import report

NAME = "virtual_clients"
TASK = Path(__file__).with_name("small_cnn.py")
CLIENTS, SHORT_CLIENTS = 1000, 100
PARTS = 1000  # of the 60,000 images: 60 for each client, however many of them take part
BATCH, RATE, SEED = 10, 0.05, 1
LOOK_SECONDS = 0.2
ROUNDS = 4  # measured; one more of ours goes before them
WARM_UP_CLIENTS = 50  # of the bare loop, before what is measured


def bare(clients: int, rounds: int, folder: Path) -> dict[str, list[float]]:
    """(wall, processor) seconds of each round of the loop written by hand; in this process."""
    import torch
    from small_cnn import Net
    from torch.nn import functional

    from warren.trainer import partition
    from warren.trainer.tasks import mnist

    torch.set_num_threads(1)
    pixels, digits = mnist.digits(folder)[0].tensors
    parts = [torch.from_numpy(part) for part in partition.iid(len(digits), PARTS, SEED)[:clients]]
    torch.manual_seed(SEED)
    model = Net()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found: dict[str, list[float]] = {"wall": [], "cpu": []}
    for number in range(1 + rounds):
        chosen = parts if number else parts[:WARM_UP_CLIENTS]
        begun, used = time.perf_counter(), time.process_time()
        total = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
        for part in chosen:
            model.load_state_dict(weights)
            optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
            for rows in torch.split(part[torch.randperm(len(part))], BATCH):
                optimizer.zero_grad()
                functional.cross_entropy(model(pixels[rows]), digits[rows]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            with torch.no_grad():
                for name, tensor in model.state_dict().items():
                    total[name].add_(tensor, alpha=len(part))
        weights = {name: tensor / sum(map(len, chosen)) for name, tensor in total.items()}
        found["wall"].append(time.perf_counter() - begun)
        found["cpu"].append(time.process_time() - used)
    return {kind: seconds[1:] for kind, seconds in found.items()}


def bare_apart(clients: int, rounds: int, folder: Path) -> dict[str, list[float]]:
    """The same, in a process of its own."""
    command = [sys.executable, __file__, "--bare", str(clients), str(rounds), "--data-dir", str(folder)]
    found: dict[str, list[float]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def ours(clients: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Wall seconds of each round from manifest to manifest; the processor's of the whole run less its start.

    The start is what a run of a single round over two clients takes.
    """
    started = _run(2, 1, folder)
    found = _run(clients, rounds, folder)
    return {
        "wall": found["periods"][1:],
        "cpu": [(found["cpu"] - started["cpu"]) / rounds],
        "peak_mib": found["peak_mib"],
    }


def _run(clients: int, rounds: int, folder: Path) -> dict[str, Any]:
    from rig import WARREN, write_job

    from warren.storage import keys

    job = {
        "task": str(TASK),
        "clients": clients,
        "rounds": rounds,
        "quorum": "100%",
        "deadline": "20m",
        "seed": SEED,
        "keep_updates": 0,
        "keep_checkpoints": "2",
        "train": {"batch_size": BATCH, "lr": RATE},
        "evaluate": {"every": 0, "share": 0.0, "held_out": False},
    }
    with tempfile.TemporaryDirectory(prefix="warren-bench-") as place:
        path = write_job(Path(place) / "job.toml", job)
        command = [str(WARREN), "run", str(path), "--trainers", "1", "--device", "cpu", "--json"]
        command += ["--data-dir", str(folder), "--store", f"{place}/runs"]
        with (Path(place) / "out").open("wb") as out:
            watched = _watched(subprocess.Popen(command, stdout=out))
        lines = (Path(place) / "out").read_text().splitlines()
        name = next(json.loads(line)["job"] for line in lines)
        frozen = [entry.stat().st_mtime for entry in sorted((Path(place) / "runs" / keys.manifests(name)).iterdir())]
    return {"periods": [b - a for a, b in itertools.pairwise(frozen)], **watched}


def _watched(process: subprocess.Popen[bytes]) -> dict[str, float]:
    """The processor's seconds of the process and all its children, and the training process's peak memory in MiB.

    Looked at while they run: the fork server reaps its children, so no parent of ours is told what they used.
    """
    from rig import peak_mib

    used: dict[int, float] = {}
    peak = 0.0
    leader = psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in [leader, *leader.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
                    times = one.cpu_times()
                    used[one.pid] = times.user + times.system
                    peak = max(peak, peak_mib(one.pid)) if one.pid != process.pid else peak
        time.sleep(LOOK_SECONDS)
    if process.returncode:
        raise RuntimeError(f"warren run ended with {process.returncode}")
    return {"cpu": sum(used.values()), "peak_mib": peak}


def measure(clients: int, rounds: int, folder: Path) -> dict[str, Any]:
    about = report.machine()
    half = (rounds + 1) // 2
    first = bare_apart(clients, half, folder)
    middle = ours(clients, 1 + rounds, folder)
    second = bare_apart(clients, half, folder)
    row: dict[str, Any] = {"clients": clients, "machine": about, "peak_mib": round(middle["peak_mib"])}
    for kind in ("wall", "cpu"):
        row[f"bare_{kind}"] = report.spread(first[kind] + second[kind])
        row[f"ours_{kind}"] = report.spread(middle[kind])
        ratio = statistics.median(middle[kind]) / statistics.median(first[kind] + second[kind])
        row[f"overhead_{kind}"] = round(ratio - 1, 3)
    return row


def as_table(rows: list[dict[str, Any]]) -> str:
    columns = ("clients", "bare loop, s a round", "ours, s a round", "overhead", "processor: bare", "ours", "overhead")
    lines = []
    for row in rows:
        cells = [f"{row['clients']:,}"]
        for kind in ("wall", "cpu"):
            cells += [report.shown(row[f"{name}_{kind}"]) for name in ("bare", "ours")]
            cells.append(f"{row[f'overhead_{kind}']:+.0%}")
        lines.append(cells)
    return report.table(columns, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="100 of them")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--bare", nargs=2, type=int, metavar=("CLIENTS", "ROUNDS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = mnist_files.data_folder(given.data_dir)
    if given.bare:
        clients, rounds = given.bare
        print(json.dumps(bare(clients, rounds, folder)))
        return
    row = measure(SHORT_CLIENTS if given.short else CLIENTS, ROUNDS, folder)
    report.save(NAME, {"rows": [row]}, short=given.short)
    print(as_table([row]))
    print(json.dumps(row))


if __name__ == "__main__":
    main()
