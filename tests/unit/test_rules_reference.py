"""Local rules against references written from the papers in numpy float64: 20 rounds, random trees, lost updates.

The model is a tree of parameters p of random shapes; an example is (s, t) with the loss |p s - t|^2 / 2, whose
gradient is s (p s - t). Each round passes through real files: checkpoint, state, update, manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made.federation import Federation, flat

ROUNDS = 20
CLIENTS = 5
LR = 0.05
SHAPES = [(2, 3), (4,), (), (1, 5, 2), (3, 1)]
SIZE = sum(int(np.prod(shape)) for shape in SHAPES)

TASK = f"""
import torch
from torch import nn
from torch.utils.data import TensorDataset

SIZE = {SIZE}

class Tree(nn.Module):
    def __init__(self):
        super().__init__()
        self.p = nn.ParameterList([nn.Parameter(torch.randn(shape)) for shape in {SHAPES}])

    def forward(self, s):
        return torch.cat([p.flatten() for p in self.p]) * s

def model():
    return Tree()

def loss(out, t):
    return ((out - t) ** 2).sum(1).mean() / 2

def data(client):
    chance = torch.Generator().manual_seed(client.index)
    s, t = torch.randn(2, 8 + 3 * client.index, SIZE, generator=chance, dtype=torch.float64)
    return TensorDataset(s, t + client.index)
"""


class Examples:
    """One client's examples, and plain SGD on them."""

    def __init__(self, index: int) -> None:
        chance = torch.Generator().manual_seed(index)
        s, t = torch.randn(2, 8 + 3 * index, SIZE, generator=chance, dtype=torch.float64)
        self.s, self.t = s.numpy(), t.numpy() + index
        self.n = len(self.s)

    def loss(self, w: np.ndarray) -> float:
        return float(((w * self.s - self.t) ** 2).sum(1).mean() / 2)

    def batches(self, epochs: int, size: int) -> Iterator[slice]:
        for _ in range(epochs):
            for start in range(0, self.n, size):
                yield slice(start, start + size)

    def gradient(self, w: np.ndarray, rows: slice) -> np.ndarray:
        s, t = self.s[rows], self.t[rows]
        return (s * (w * s - t)).mean(0)

    def sgd(
        self,
        w: np.ndarray,
        more: Callable[[np.ndarray], Any] = lambda y: 0.0,
        momentum: float = 0.0,
        size: int = 4,
        lr: float = LR,
    ) -> tuple[np.ndarray, int]:
        y, v, steps = w.copy(), 0.0, 0
        for rows in self.batches(2, size):
            v = momentum * v + self.gradient(y, rows) + more(y)
            y = y - lr * v
            steps += 1
        return y, steps


DATA = [Examples(index) for index in range(CLIENTS)]
N = np.array([examples.n for examples in DATA], dtype=np.float64)


def federation(folder: Path, strategy: str, train: dict[str, Any] | None = None, **options: Any) -> Federation:
    settings = {"lr": LR, "epochs": 2, "batch_size": 4, "shuffle": False, "precision": "fp64", **(train or {})}
    return Federation(
        folder,
        TASK,
        clients=CLIENTS,
        train=settings,
        evaluate={"share": 0.0, "every": 0},
        strategy={"name": strategy, **{k: v for k, v in options.items() if k == "weighting"}}
        | {"options": {k: v for k, v in options.items() if k != "weighting"}},
    )


def chosen(number: int) -> tuple[list[int], list[int]]:
    """Who counts in a round, and whose update comes too late."""
    drawn = np.random.default_rng(number).permutation(CLIENTS)
    return sorted(map(int, drawn[:3])), [int(drawn[3])]


def names(indices: list[int]) -> list[str]:
    return [f"c{index:03}" for index in indices]


def rounds(job: Federation) -> Iterator[tuple[list[int], np.ndarray]]:
    """Run 20 rounds; after each (who counted, the model)."""
    for number in range(1, ROUNDS + 1):
        counted, lost = chosen(number)
        job.run(names(counted), names(lost))
        yield counted, flat(job.model())


def close(mine: np.ndarray, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)


def test_scaffold_is_the_papers_and_its_controls_sum_to_nothing(tmp_path: Path) -> None:
    job = federation(tmp_path, "scaffold", lr=0.7)
    x = flat(job.model())
    c, c_i = np.zeros(SIZE), np.zeros((CLIENTS, SIZE))
    for counted, model in rounds(job):
        y, plus = {}, {}
        for i in counted:
            y[i], steps = DATA[i].sgd(x, lambda _, i=i, c=c: c - c_i[i])  # type: ignore[misc]
            plus[i] = c_i[i] - c + (x - y[i]) / (steps * LR)
        x = x + 0.7 * sum(y[i] - x for i in counted) / len(counted)
        c = c + sum(plus[i] - c_i[i] for i in counted) / CLIENTS
        for i in counted:
            c_i[i] = plus[i]
        close(model, x)
        theirs = flat(job.tensors(f"jobs/j/checkpoints/round-{job.round - 1:05}.optimizer.safetensors"), "c/")
        mine = [flat(job.kept(name), "c/") for name in names(list(range(CLIENTS))) if job.kept(name)]
        close(sum(mine) / CLIENTS, theirs)  # the sum of c - c_i over all clients is 0


@pytest.mark.parametrize("update", ["weights", "delta"])
@pytest.mark.parametrize("train", [{}, {"momentum": 0.8}, {"mu": 0.5}, {"momentum": 0.5, "mu": 0.3}])
def test_fednova_is_the_papers(tmp_path: Path, train: dict[str, float], update: str) -> None:
    job = federation(tmp_path, "fednova", train)
    job.spec = job.spec.model_copy(update={"update": update})
    x, rho, mu = flat(job.model()), train.get("momentum", 0.0), train.get("mu", 0.0)
    for counted, model in rounds(job):
        p = {i: N[i] / N[counted].sum() for i in counted}
        y, a = {}, {}
        for i in counted:
            y[i], steps = DATA[i].sgd(x, lambda w, x=x: mu * (w - x), momentum=rho)  # type: ignore[misc]
            a[i] = np.abs(normalising_vector(steps, rho, LR * mu)).sum()
        d = {i: (x - y[i]) / a[i] for i in counted}
        x = x - sum(p[i] * a[i] for i in counted) * sum(p[i] * d[i] for i in counted)
        close(model, x)


def normalising_vector(steps: int, rho: float, alpha: float) -> np.ndarray:
    """a_i, element by element: how far the gradient of each step has moved the weights at the end."""
    vector = np.zeros(steps)
    for at in range(steps):
        moved = velocity = 0.0
        for now in range(at, steps):
            velocity = rho * velocity + (1.0 if now == at else 0.0) - alpha * moved
            moved += velocity
        vector[at] = moved
    if rho == 0:
        np.testing.assert_allclose(vector, (1 - alpha) ** np.arange(steps)[::-1])
    if alpha == 0:
        np.testing.assert_allclose(vector, [(1 - rho ** (steps - k)) / (1 - rho) for k in range(steps)])
    return vector


def test_fednova_with_equal_steps_is_fedavg_to_rounding(tmp_path: Path) -> None:
    train = {"epochs": 1, "steps": 5, "momentum": 0.9}
    nova, average = federation(tmp_path / "nova", "fednova", train), federation(tmp_path / "avg", "fedavg", train)
    for (_, mine), (_, theirs) in zip(rounds(nova), rounds(average), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


def test_feddyn_is_the_papers(tmp_path: Path) -> None:
    alpha = 0.3
    job = federation(tmp_path, "feddyn", alpha=alpha)
    theta = flat(job.model())
    h, grad = np.zeros(SIZE), np.zeros((CLIENTS, SIZE))
    for counted, model in rounds(job):
        found = {}
        for k in counted:
            found[k], _ = DATA[k].sgd(theta, lambda w, k=k, theta=theta: -grad[k] + alpha * (w - theta))  # type: ignore[misc]
        for k in counted:
            grad[k] -= alpha * (found[k] - theta)
        h = h - alpha / CLIENTS * sum(found[k] - theta for k in counted)
        theta = sum(found.values()) / len(counted) - h / alpha
        close(model, theta)
        for k in counted:
            close(flat(job.kept(f"c{k:03}"), "g/"), grad[k])


@pytest.mark.parametrize(("q", "weighting"), [(0.5, "uniform"), (2.0, "examples")])
def test_qfedavg_is_the_papers(tmp_path: Path, q: float, weighting: str) -> None:
    job = federation(tmp_path, "qfedavg", q=q, weighting=weighting)
    w, lipschitz = flat(job.model()), 1 / LR
    for counted, model in rounds(job):
        p = {k: N[k] if weighting == "examples" else 1.0 for k in counted}
        dw = {k: lipschitz * (w - DATA[k].sgd(w)[0]) for k in counted}
        f = {k: DATA[k].loss(w) for k in counted}
        h = {k: q * f[k] ** (q - 1) * (dw[k] ** 2).sum() + lipschitz * f[k] ** q for k in counted}
        w = w - sum(p[k] * f[k] ** q * dw[k] for k in counted) / sum(p[k] * h[k] for k in counted)
        close(model, w)


def test_qfedavg_without_q_is_fedavg_to_rounding(tmp_path: Path) -> None:
    fair, average = federation(tmp_path / "q", "qfedavg", q=0), federation(tmp_path / "avg", "fedavg")
    for (_, mine), (_, theirs) in zip(rounds(fair), rounds(average), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


def test_fedsam_is_the_papers(tmp_path: Path) -> None:
    rho = 0.2
    job = federation(tmp_path, "fedavg", {"rule": "fedsam", "rho": rho})
    w = flat(job.model())
    for counted, model in rounds(job):
        found = {}
        for k in counted:
            y = w.copy()
            for rows in DATA[k].batches(2, 4):
                g = DATA[k].gradient(y, rows)
                y = y - LR * DATA[k].gradient(y + rho * g / np.linalg.norm(g), rows)
            found[k] = y
        w = sum(N[k] * found[k] for k in counted) / N[counted].sum()
        close(model, w)


def test_ditto_is_the_papers_and_its_global_model_is_fedavgs_to_the_byte(tmp_path: Path) -> None:
    lam = 0.6
    job = federation(tmp_path / "ditto", "fedavg", {"rule": "ditto", "lam": lam})
    average = federation(tmp_path / "avg", "fedavg")
    v: dict[int, np.ndarray] = {}
    w = flat(job.model())
    for (counted, model), (_, plain) in zip(rounds(job), rounds(average), strict=True):
        for k in counted:
            v[k], _ = DATA[k].sgd(v.get(k, w), lambda y, w=w: lam * (y - w))  # type: ignore[misc]
        w = sum(N[k] * DATA[k].sgd(w)[0] for k in counted) / N[counted].sum()
        close(model, w)
        assert np.array_equal(model, plain)
        for k, own in v.items():
            close(flat(job.kept(f"c{k:03}"), "own/"), own)


def test_fedper_layers_are_trained_at_home_from_where_they_last_counted(tmp_path: Path) -> None:
    job = federation(tmp_path, "fedavg", {"local": ["p.0", "p.3"]})
    first = job.model()
    w, stays = flat(first), mask(first, ("p.0", "p.3"))
    own: dict[int, np.ndarray] = {}
    for counted, model in rounds(job):
        found = {k: DATA[k].sgd(np.where(stays, own.get(k, flat(first)), w))[0] for k in counted}
        own |= found
        w = np.where(stays, w, sum(N[k] * found[k] for k in counted) / N[counted].sum())
        close(model, w)
        for k in counted:
            close(flat(job.kept(f"c{k:03}"), "own/"), found[k][stays])


def mask(model: dict[str, torch.Tensor], local: tuple[str, ...]) -> np.ndarray:
    return np.concatenate([np.full(model[name].numel(), name in local) for name in sorted(model)])


def test_fedprox_without_mu_is_fedavg(tmp_path: Path) -> None:
    prox, average = federation(tmp_path / "p", "fedavg", {"mu": 0.0}), federation(tmp_path / "a", "fedavg")
    for (_, mine), (_, theirs) in zip(rounds(prox), rounds(average), strict=True):
        assert np.array_equal(mine, theirs)
