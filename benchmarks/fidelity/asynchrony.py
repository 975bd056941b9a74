"""Diwangkara, Kistijantoro 2020, Study of Data Imbalance and Asynchronous Aggregation Algorithm on Federated Learning
System: stale-synchronous workers under packet loss.

Four workers train MNIST's CNN (convolutions of 20 and 50 filters, 5 x 5, a layer of 500) by SGD at 0.1, one batch of
32 a round, over a network that loses packets: L = 0, 10, 20 %. Nothing is dropped for good, TCP sends again, so
that loss *delays*. D is how far two workers' shares are below, and two above, a quarter of the images (for D = 10,000:
5,000 and 25,000). The bound S of stale-synchronous parallel is 0 (synchronous), 6, 12 or infinite. What is compared is
the accuracy when the time is over.

Ours runs in simulated time (`simulated_time.py`). Theirs ran on real machines of which neither the network nor the
length of a run can be taken over; here a worker's batch takes BATCH_SECONDS, a transfer the time of `transfer_seconds`,
and the run ends after HORIZON_SECONDS: so long that, as theirs, all jobs with L <= 10 come near .9 (after half of it
those with L = 10 were at .5 to .75). What this leaves to be compared is L = 20, and the order of the bounds. They find
that asynchrony helps where workers' frequencies of updates are unequal: links lose LINKS times L, L on average.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cell import Cell, Found, Result
from drawing import Line, Panel, draw
from experiment import Experiment, Size
from simulated_time import SimulatedJob
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from warren.storage.job import JobSpec, make_spec
from warren.trainer.tasks import mnist

WORKERS, BATCH, RATE = 4, 32, 0.1
LOSSES = (0, 10, 20)  # per cent
LINKS = (0.7, 0.9, 1.1, 1.3)  # each worker's loss, as a multiple of L
IMBALANCES = (0, 600, 10_000)
BOUNDS: tuple[int | str, ...] = (0, 6, 12, "inf")
SEEDS: dict[Size, int] = {"smoke": 1, "short": 3, "full": 10}
HORIZON_SECONDS: dict[Size, float] = {"smoke": 120.0, "short": 1200.0, "full": 1200.0}
BATCH_SECONDS = 4.0  # of one worker's step
SPREAD = 0.2  # of it, either way
EVALUATIONS = 8  # over a run; on the first CURVE_IMAGES, but the last on all
CURVE_IMAGES = 2000
PAPER = {(20, 0): {0: 0.54, 6: 0.59, 12: 0.73, "inf": 0.63}}  # and all near .9 for L <= 10, D = 0

MESSAGE_BYTES, SEGMENT_BYTES, WINDOW = 1_724_320, 1448, 10
LINE_BYTES_A_SECOND = 125e6
RTO_SECONDS, RTO_SECONDS_MAX = 0.2, 120.0  # Linux's least; doubled at each loss in a row


def transfer_seconds(loss: float, chance: np.random.Generator) -> float:
    """How long TCP takes for one model: a segment that is lost once is sent again at once (RACK), and one that is lost
    again waits for the timer, with all behind it: RTO (2^k - 1) where k in a row are lost after the first.
    """
    windows = -(-MESSAGE_BYTES // (SEGMENT_BYTES * WINDOW))
    stalled = chance.binomial(windows, 1 - (1 - loss * loss) ** WINDOW)
    timers = RTO_SECONDS * (2.0 ** chance.geometric(1 - loss, stalled) - 1)
    return MESSAGE_BYTES / LINE_BYTES_A_SECOND + float(np.minimum(timers, RTO_SECONDS_MAX).sum())


class Net(nn.Module):
    """431,080 weights."""

    def __init__(self) -> None:
        super().__init__()
        first = [nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)]
        second = [nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:  # (n, 28, 28) uint8
        logits: torch.Tensor = self.layers(pixels.to(torch.float32).div(255).unsqueeze(1))
        return logits


@cache
def images(data_dir: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pixels and labels to train on, and to test on."""
    train, test = mnist.digits(data_dir)
    return (*train.tensors, *test.tensors)


class Workers:
    """The four of them: their shares, the order of their batches, and how long each takes; all from the seed."""

    def __init__(self, seed: int, imbalance: int, loss: float, data_dir: Path) -> None:
        self.pixels, self.labels, self._test_pixels, self._test_labels = images(data_dir)
        torch.manual_seed(seed)
        self.net = Net()
        order = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(seed + 1))
        share = len(order) // WORKERS
        sizes = [share - imbalance, share - imbalance, share + imbalance, share + imbalance]
        self.shares = dict(zip(spec_of(seed, 0).client_names, torch.split(order, sizes), strict=True))
        self._seed = seed
        self._loss = {client: link * loss for client, link in zip(self.shares, LINKS, strict=True)}

    def gradient(self, client: str, nth: int, weights: torch.Tensor) -> torch.Tensor:
        """Of the client's n-th batch: passes over its share, each in an order of its own."""
        share = self.shares[client]
        a_pass = len(share) // BATCH
        passed, at = divmod(nth - 1, a_pass)
        chance = torch.Generator().manual_seed((self._seed * WORKERS + int(client[1:])) * 100_000 + passed)
        rows = share[torch.randperm(len(share), generator=chance)[at * BATCH : (at + 1) * BATCH]]
        vector_to_parameters(weights, self.net.parameters())
        loss = cross_entropy(self.net(self.pixels[rows]), self.labels[rows])
        gradients = torch.autograd.grad(loss, list(self.net.parameters()))
        return torch.cat([gradient.reshape(-1) for gradient in gradients])

    def seconds(self, client: str, nth: int) -> float:
        """There, a batch, and back. The same draw for the same update of a client, whatever the bound."""
        chance = np.random.default_rng([self._seed, int(client[1:]), nth])
        work = BATCH_SECONDS * (1 + SPREAD * (2 * chance.random() - 1))
        return work + sum(transfer_seconds(self._loss[client], chance) for _ in ("there", "back"))

    @torch.no_grad()
    def accuracy(self, weights: torch.Tensor, count: int | None = None) -> float:
        vector_to_parameters(weights, self.net.parameters())
        pixels, labels = self._test_pixels[:count], self._test_labels[:count]
        right = sum(
            int((self.net(part).argmax(1) == truth).sum())
            for part, truth in zip(torch.split(pixels, 500), torch.split(labels, 500), strict=True)
        )
        return right / len(labels)


def spec_of(seed: int, bound: int | str) -> JobSpec:
    task = {"name": "mnist", "file": "mnist.py", "digest": "0" * 64}
    schedule = {"kind": "ssp", "staleness": bound}
    fields: dict[str, Any] = {"task": task, "clients": WORKERS, "schedule": schedule, "train": {"lr": RATE}}
    return make_spec({"job": "asynchrony", "update": "gradients", "rounds": 99_999, "seed": seed, **fields,
                      "deadline_seconds": 1e9})  # fmt: skip


def run_cell(cell: Cell, data_dir: Path | None) -> Result:
    """One run in simulated time. The curve is over simulated seconds."""
    assert data_dir is not None
    begun, job = time.perf_counter(), cell.job
    torch.set_num_threads(1)
    workers = Workers(job["seed"], job["D"], job["L"] / 100, data_dir)
    start = parameters_to_vector(workers.net.parameters()).detach().clone()
    run = SimulatedJob(spec_of(job["seed"], job["S"]), start, workers.gradient, workers.seconds)
    curve: list[tuple[int, float]] = []
    every = job["horizon"] / EVALUATIONS
    for now in run.run():
        while now >= every * (len(curve) + 1) and len(curve) < EVALUATIONS - 1:
            curve.append((round(every * (len(curve) + 1)), workers.accuracy(run.weights, CURVE_IMAGES)))
        if now >= job["horizon"]:
            break
    curve.append((round(job["horizon"]), workers.accuracy(run.weights)))
    stale = float(np.mean(run.counted)) if run.counted else 0.0
    curves = {"test accuracy": curve, "staleness": [(run.version, stale)], "updates": [(run.version, len(run.counted))]}
    seconds = time.perf_counter() - begun
    return Result(cell.digest, curves, "done", "", len(run.counted) * MESSAGE_BYTES, seconds)  # type: ignore[arg-type]


def cell_of(size: Size, loss: int, imbalance: int, bound: int | str, seed: int) -> Cell:
    horizon = HORIZON_SECONDS[size]
    fields = {"task": "mnist", "links": LINKS, "L": loss, "D": imbalance, "S": bound, "seed": seed, "horizon": horizon}
    name = f"L={loss} D={imbalance} S={bound} seed={seed} {horizon:g} s"
    return Cell(name, fields, seconds=3 + 0.016 * WORKERS * horizon / (BATCH_SECONDS + 0.05 * loss * loss))


def grid(size: Size) -> list[tuple[int, int, int | str]]:
    few = size == "smoke"
    imbalances = IMBALANCES[:1] if few else IMBALANCES
    return [(loss, d, bound) for loss in (LOSSES[::2] if few else LOSSES) for d in imbalances
            for bound in (BOUNDS[::3] if few else BOUNDS)]  # fmt: skip


def cells(size: Size, found: Found) -> Sequence[Cell]:
    return [cell_of(size, *place, seed) for seed in range(SEEDS[size]) for place in grid(size)]


def results(size: Size, found: Found, place: tuple[int, int, int | str]) -> list[Result]:
    names = [cell_of(size, *place, seed).name for seed in range(SEEDS[size])]
    return [found[name] for name in names if name in found]


_T = (math.nan, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)  # Student's t, 97.5 %, by degrees of freedom


def interval(values: Sequence[float]) -> str:
    """Mean and half the 95 % interval, over seeds."""
    if not values:
        return "–"
    mean = f"{statistics.mean(values):.3f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {_T[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values)):.3f}"


def table(size: Size, found: Found) -> str:
    heads = [f"S = {bound}" for bound in BOUNDS]
    lines = [f"| L % | D | {' | '.join(heads)} | updates, S = 0 / inf | theirs |", "|" + "---|" * (len(heads) + 4)]
    for loss in LOSSES:
        for imbalance in IMBALANCES:
            per = {bound: results(size, found, (loss, imbalance, bound)) for bound in BOUNDS}
            if not any(per.values()):
                continue
            shown = [interval([one.last("test accuracy") for one in per[bound]]) for bound in BOUNDS]
            counts = [
                f"{statistics.mean(one.last('updates') for one in per[b]):.0f}" if per[b] else "–" for b in BOUNDS
            ]
            paper = PAPER.get((loss, imbalance))
            theirs = " / ".join(f"{paper[bound]:.2f}" for bound in BOUNDS) if paper else ""
            theirs = theirs or ("all near .9" if loss <= 10 and not imbalance else "")
            lines.append(f"| {loss} | {imbalance} | {' | '.join(shown)} | {counts[0]} / {counts[-1]} | {theirs} |")
    return "\n".join(lines)


def draw_all(size: Size, found: Found, path: Path) -> None:
    panels = []
    for loss in LOSSES:
        for imbalance in IMBALANCES:
            lines = []
            for color, bound in enumerate(BOUNDS):
                runs = [one.curves["test accuracy"] for one in results(size, found, (loss, imbalance, bound))]
                if runs:
                    x = [float(second) for second, _ in runs[0]]
                    y = [statistics.mean(run[n][1] for run in runs) for n in range(len(x))]
                    lines.append(Line(f"S = {bound}", x, y, color))
            if lines:
                panels.append(Panel(f"L = {loss} %, D = {imbalance}", lines, y_limits=(0.0, 1.0)))
    if panels:
        draw(path, panels, "simulated seconds", "test accuracy")


EXPERIMENT = Experiment(
    name="asynchrony",
    title="Asynchrony under packet loss and imbalance (Diwangkara and Kistijantoro 2020)",
    cells=cells,
    table=table,
    draw=draw_all,
    run_cell=run_cell,
)
