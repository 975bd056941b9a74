"""Robust reducers against references from the papers in numpy float64: 20 rounds, random trees, through files."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from warren.aggregator.checkpoint import read_start, write_checkpoint
from warren.storage.documents import Entry, Manifest
from warren.storage.job import JobSpec, make_spec
from warren.storage.torch_tensors import save

ROUNDS = 20
CLIENTS = 11
F = 2
EXAMPLES = [10 + 7 * n for n in range(CLIENTS)]
SHAPES = {"a.w": (7, 3), "b.w": (), "c.w": (5,), "d.w": (2, 2, 2), "e.w": (0, 4)}
SIZES = {name: int(np.prod(shape)) for name, shape in SHAPES.items()}
Vectors = np.ndarray  # (n, d): the changes of all clients, one a row
Reference = Callable[[Vectors], np.ndarray]


def spec(update: str, strategy: str = "fedavg", **reducer: Any) -> JobSpec:
    task = {"name": "t", "file": "t.py", "digest": "0" * 64}
    fields = {"job": "j", "task": task, "update": update, "rounds": ROUNDS, "clients": CLIENTS}
    lr = {"options": {"lr": 0.5}} if strategy == "fedavgm" else {}
    return make_spec({**fields, "strategy": {"name": strategy} | lr, "reducer": reducer})


def tree_of(vector: np.ndarray) -> dict[str, torch.Tensor]:
    parts = np.split(vector, np.cumsum(list(SIZES.values()))[:-1])
    return {name: torch.from_numpy(part.reshape(SHAPES[name]).copy()) for name, part in zip(SIZES, parts, strict=True)}


def vector_of(path: Path) -> np.ndarray:
    tensors = read_start(path).tensors
    return np.concatenate([tensors[name].numpy().reshape(-1) for name in SIZES])


def distance(x: np.ndarray, y: np.ndarray) -> float:
    return float(((x - y) ** 2).sum())


def krum_score(x: Vectors, i: int, f: int) -> float:
    return sum(sorted(distance(x[i], x[j]) for j in range(len(x)) if j != i)[: max(1, len(x) - f - 2)])


def krum(x: Vectors) -> np.ndarray:
    return x[min(range(len(x)), key=lambda i: krum_score(x, i, F))]


def multi_krum(m: int) -> Reference:
    return lambda x: x[sorted(range(len(x)), key=lambda i: krum_score(x, i, F))[:m]].mean(0)


def median(x: Vectors) -> np.ndarray:
    return np.median(x, axis=0)


def trimmed_mean(x: Vectors) -> np.ndarray:
    return np.array([sum(sorted(column)[F:-F]) / (len(column) - 2 * F) for column in x.T])


def bulyan(x: Vectors) -> np.ndarray:
    left, chosen = list(range(len(x))), []
    while len(chosen) < len(x) - 2 * F:
        among = x[left]
        chosen.append(left.pop(min(range(len(left)), key=lambda i: krum_score(among, i, F))))
    found = []
    for column in x[chosen].T:
        middle = np.median(column)
        found.append(np.mean(sorted(column, key=lambda value: abs(value - middle))[: len(chosen) - 2 * F]))
    return np.array(found)


def geometric_median(alpha: list[float]) -> Reference:
    def weiszfeld(x: Vectors) -> np.ndarray:
        p = np.array(alpha) / sum(alpha)
        z = p @ x
        for _ in range(2000):
            beta = p / np.maximum(1e-6, np.sqrt(((x - z) ** 2).sum(1)))
            z = beta @ x / beta.sum()
        return z

    return weiszfeld


def clipped(tau: float | None, steps: int, alpha: list[float]) -> Reference:
    def centre(x: Vectors) -> np.ndarray:
        p, v = np.array(alpha) / sum(alpha), np.zeros(x.shape[1])
        for _ in range(steps):
            lengths = np.sqrt(((x - v) ** 2).sum(1))
            radius = np.median(lengths) if tau is None else tau
            v = v + sum(w * (row - v) * min(1.0, radius / length) for w, row, length in zip(p, x, lengths, strict=True))
        return v

    return centre


def after_nnm(rule: Reference) -> Reference:
    def mixed(x: Vectors) -> np.ndarray:
        near = [sorted(range(len(x)), key=lambda j: distance(x[i], x[j]))[: len(x) - F] for i in range(len(x))]
        return rule(np.array([x[places].mean(0) for places in near]))

    return mixed


UNIFORM = [1.0] * CLIENTS
CASES: dict[str, tuple[dict[str, Any], Reference]] = {
    "median": ({}, median),
    "trimmed-mean": ({"f": F}, trimmed_mean),
    "krum": ({"f": F}, krum),
    "multi-krum": ({"f": F}, multi_krum(CLIENTS - F - 2)),
    "multi-krum of 3": ({"f": F, "options": {"keep": 3}}, multi_krum(3)),
    "bulyan": ({"f": F}, bulyan),
    "geometric-median": ({"options": {"iterations": 2000}}, geometric_median(UNIFORM)),
    "geometric-median weighted": ({"weighted": True, "options": {"iterations": 2000}}, geometric_median(EXAMPLES)),
    "centered-clipping": ({"options": {"radius": 0.7, "iterations": 4}}, clipped(0.7, 4, UNIFORM)),
    "centered-clipping by the median": ({"options": {"iterations": 3}}, clipped(None, 3, UNIFORM)),
    "norm-clipping": ({"options": {"radius": 0.7}}, clipped(0.7, 1, UNIFORM)),
    "norm-clipping by the median": ({}, clipped(None, 1, UNIFORM)),
    "norm-clipping weighted": ({"weighted": True, "options": {"radius": 0.7}}, clipped(0.7, 1, EXAMPLES)),
    "median after nnm": ({"f": F, "before": "nnm"}, after_nnm(median)),
    "trimmed-mean after nnm": ({"f": F, "before": "nnm"}, after_nnm(trimmed_mean)),
    "bulyan after nnm": ({"f": F, "before": "nnm"}, after_nnm(bulyan)),
    "krum after nnm": ({"f": F, "before": "nnm"}, after_nnm(krum)),
    "norm-clipping after nnm": (
        {"f": F, "before": "nnm", "options": {"radius": 0.7}},
        after_nnm(clipped(0.7, 1, UNIFORM)),
    ),
}


class Rounds:
    """A job's rounds on files: clients send what they are given, as weights or as changes."""

    def __init__(self, folder: Path, job: JobSpec, start: np.ndarray) -> None:
        self.said = {"trainable": json.dumps(sorted(SIZES)), "tied": "{}"}
        self.folder, self.job, self.base, self.state = folder, job, folder / "base", None
        save(self.base, tree_of(start), self.said)

    def run(self, number: int, changes: Vectors) -> np.ndarray:
        """The model after the round."""
        base = vector_of(self.base) if self.job.update == "weights" else 0.0
        entries, paths = [], {}
        for client, change in enumerate(changes):
            name = f"c{client:03}"
            paths[name] = self.folder / f"{number}.{name}"
            written = save(paths[name], tree_of(base + change), self.said)
            fields = {"client": name, "source": "pool.p", "attempt": "a", "examples": EXAMPLES[client]}
            entries.append(Entry(**fields, digest=written.digest, size=written.size))  # type: ignore[arg-type]
        manifest = Manifest(job="j", round=number, entries=tuple(entries))
        out, state_out = self.folder / f"model{number}", self.folder / f"state{number}"
        _, wrote = write_checkpoint(
            self.job, manifest, self.base, self.state, lambda entry: paths[entry.client], None, out, state_out
        )
        self.base, self.state = out, state_out if wrote else None
        return vector_of(out)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("update", ["weights", "delta"])
def test_a_reducer_is_its_paper_for_20_rounds(tmp_path: Path, case: str, update: str) -> None:
    options, reference = CASES[case]
    chance = np.random.default_rng(21)
    expected = chance.normal(size=sum(SIZES.values()))
    rounds = Rounds(tmp_path, spec(update, name=case.split()[0], **options), expected)
    for number in range(1, ROUNDS + 1):
        changes = 0.1 * chance.normal(size=(CLIENTS, len(expected)))
        changes[:F] *= 30  # attackers
        expected = expected + reference(changes)
        np.testing.assert_allclose(rounds.run(number, changes), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("case", ["krum", "trimmed-mean", "geometric-median"])
def test_any_reducer_feeds_any_server_optimizer(tmp_path: Path, case: str) -> None:
    options, reference = CASES[case]
    chance = np.random.default_rng(3)
    expected = chance.normal(size=sum(SIZES.values()))
    rounds = Rounds(tmp_path, spec("delta", "fedavgm", name=case, **options), expected)
    velocity = np.zeros_like(expected)
    for number in range(1, 6):
        changes = chance.normal(size=(CLIENTS, len(expected)))
        velocity = 0.9 * velocity - reference(changes)
        expected = expected - 0.5 * velocity
        np.testing.assert_allclose(rounds.run(number, changes), expected, rtol=1e-7, atol=1e-9)


def test_gradients_go_through_a_reducer_too(tmp_path: Path) -> None:
    chance = np.random.default_rng(3)
    start = chance.normal(size=sum(SIZES.values()))
    job = spec("gradients", name="median")
    gradients = chance.normal(size=(CLIENTS, len(start)))
    found = Rounds(tmp_path, job, start).run(1, gradients)
    np.testing.assert_allclose(found, start - 0.1 * np.median(gradients, axis=0), rtol=1e-12)


def test_buckets_are_means_of_a_permutation_that_the_round_draws(tmp_path: Path) -> None:
    """With one coordinate a client, the median of the buckets' means is one of what some dealing out gives."""
    job = spec("delta", name="median", before="bucketing", options={"bucket": 4})
    start = np.zeros(sum(SIZES.values()))
    powers = np.array([2.0**n for n in range(CLIENTS)])
    changes = np.repeat(powers[:, None], len(start), axis=1)
    found = [Rounds(tmp_path, job, start).run(number, changes)[0] for number in (1, 1, 2, 3, 4)]
    assert found[0] == found[1]  # from job seed and round alone
    assert len(set(found)) > 2
    means = {np.mean(group) for size in (4, 3) for group in itertools.combinations(powers, size)}
    assert set(found) <= means
