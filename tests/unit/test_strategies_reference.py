"""Server optimizers against references written from the papers in numpy float64: 20 rounds, random trees.

Each round passes through files: checkpoint, updates, the optimizer's state. So what holds here holds for a
job that goes on after any restart.
"""

from __future__ import annotations

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
from warren.storage.torch_tensors import map_file, save

ROUNDS = 20
CLIENTS = 4
Tree = dict[str, np.ndarray]
Reference = Callable[[Tree, Tree, dict[str, Tree]], Tree]


def spec(update: str, name: str, **options: Any) -> JobSpec:
    task = {"name": "t", "file": "t.py", "digest": "0" * 64}
    strategy = {"name": name, "options": options}
    return make_spec({"job": "j", "task": task, "update": update, "strategy": strategy, "rounds": ROUNDS})


def random_tree(chance: np.random.Generator) -> Tree:
    shapes = [tuple(chance.integers(1, 6, size=chance.integers(0, 4))) for _ in range(5)]
    return {f"layer{n}.w": chance.normal(size=shape) for n, shape in enumerate(shapes)}


def tensors_of(tree: Tree) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.asarray(array)) for name, array in tree.items()}


def run_rounds(folder: Path, spec: JobSpec, start: Tree, updates_of: Callable[[int, Tree], list[Tree]]) -> list[Tree]:
    """The model after each round, through files; `updates_of` gives what the clients send from the current model."""
    said = {"trainable": json.dumps(sorted(start)), "tied": "{}"}
    base, state = folder / "base", None
    save(base, tensors_of(start), said)
    models, current = [], start
    for number in range(1, ROUNDS + 1):
        entries, paths = [], {}
        for index, tree in enumerate(updates_of(number, current)):
            path = folder / f"u{number}.{index}"
            written = save(path, tensors_of(tree), said)
            name, digest = f"c{index}", written.digest
            entries.append(
                Entry(
                    client=name, source="pool.p", attempt="a", digest=digest, size=written.size, examples=10 + 7 * index
                )
            )
            paths[digest] = path
        manifest = Manifest(job="j", round=number, entries=tuple(entries))
        out, state_out = folder / f"model{number}", folder / f"state{number}"
        _, wrote = write_checkpoint(spec, manifest, base, state, lambda e: paths[e.digest], None, out, state_out)  # noqa: B023
        base, state = out, state_out if wrote else None
        current = {name: tensor.numpy().copy() for name, tensor in read_start(out).tensors.items()}
        models.append(current)
    return models


def mean(trees: list[Tree]) -> Tree:
    share = np.array([10 + 7 * n for n in range(len(trees))], dtype=np.float64)
    share /= share.sum()
    return {name: sum(s * tree[name] for s, tree in zip(share, trees, strict=True)) for name in trees[0]}


def fedavg(w: Tree, average: Tree, memory: dict[str, Tree]) -> Tree:
    return average


def fedavgm(nesterov: bool) -> Reference:
    def step(w: Tree, average: Tree, memory: dict[str, Tree]) -> Tree:
        new = {}
        for name in w:
            g = w[name] - average[name]
            v = 0.8 * memory.setdefault("v", {}).get(name, np.zeros_like(g)) + g
            memory["v"][name] = v
            new[name] = w[name] - 0.5 * (g + 0.8 * v if nesterov else v)
        return new

    return step


def reddi(kind: str) -> Reference:
    """Algorithm 2 of Reddi et al. 2021, line by line."""
    eta, b1, b2, tau = 0.05, 0.0 if kind == "adagrad" else 0.9, 0.99, 1e-2

    def step(w: Tree, average: Tree, memory: dict[str, Tree]) -> Tree:
        new = {}
        for name in w:
            delta = average[name] - w[name]
            m = b1 * memory.setdefault("m", {}).get(name, 0.0) + (1 - b1) * delta
            v = memory.setdefault("v", {}).get(name, np.full_like(delta, tau**2))
            if kind == "adagrad":
                v = v + delta**2
            elif kind == "yogi":
                v = v - (1 - b2) * delta**2 * np.sign(v - delta**2)
            else:
                v = b2 * v + (1 - b2) * delta**2
            memory["m"][name], memory["v"][name] = m, v
            new[name] = w[name] + eta * m / (np.sqrt(v) + tau)
        return new

    return step


ADAPTIVE = {"lr": 0.05, "tau": 1e-2}
CASES: dict[str, tuple[str, dict[str, Any], Reference]] = {
    "fedavg": ("fedavg", {}, fedavg),
    "fedavgm": ("fedavgm", {"lr": 0.5, "momentum": 0.8}, fedavgm(False)),
    "fedavgm nesterov": ("fedavgm", {"lr": 0.5, "momentum": 0.8, "nesterov": True}, fedavgm(True)),
    "fedadam": ("fedadam", ADAPTIVE, reddi("adam")),
    "fedyogi": ("fedyogi", ADAPTIVE, reddi("yogi")),
    "fedadagrad": ("fedadagrad", ADAPTIVE, reddi("adagrad")),
    "sgd as DiLoCo's outer step": ("sgd", {"lr": 0.5, "momentum": 0.8, "nesterov": True}, fedavgm(True)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("update", ["weights", "delta"])
def test_a_strategy_is_its_paper_for_20_rounds(tmp_path: Path, case: str, update: str) -> None:
    name, options, reference = CASES[case]
    chance = np.random.default_rng(11)
    start = random_tree(chance)
    expected, memory, wanted = start, {}, []  # type: ignore[var-annotated]
    drift = [[random_like(chance, start) for _ in range(CLIENTS)] for _ in range(ROUNDS)]
    for moves in drift:
        average = mean([{n: expected[n] * 0.9 + move[n] for n in expected} for move in moves])
        expected = reference(expected, average, memory)
        wanted.append(expected)

    def updates_of(number: int, w: Tree) -> list[Tree]:
        shift = 1.0 if update == "delta" else 0.0
        return [{n: w[n] * (0.9 - shift) + move[n] for n in w} for move in drift[number - 1]]

    models = run_rounds(tmp_path, spec(update, name, **options), start, updates_of)
    for mine, theirs in zip(models, wanted, strict=True):
        for key in theirs:
            np.testing.assert_allclose(mine[key], theirs[key], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("case", ["fedavg", "fedadam", "sgd as DiLoCo's outer step"])
def test_a_running_mean_is_kept_beside_any_strategy_and_changes_no_checkpoint(tmp_path: Path, case: str) -> None:
    name, options, _ = CASES[case]
    chance = np.random.default_rng(11)
    expected = start = random_tree(chance)
    drift = [[random_like(chance, start) for _ in range(CLIENTS)] for _ in range(ROUNDS)]

    def updates_of(number: int, w: Tree) -> list[Tree]:
        return [{n: w[n] * 0.9 + move[n] for n in w} for move in drift[number - 1]]

    for folder in ("plain", "mean"):
        (tmp_path / folder).mkdir()
    plain = run_rounds(tmp_path / "plain", spec("weights", name, **options), start, updates_of)
    models = run_rounds(tmp_path / "mean", spec("weights", name, ema=0.8, **options), start, updates_of)
    for number, model in enumerate(models, 1):
        kept = map_file(tmp_path / "mean" / f"state{number}")
        for key in start:
            assert (model[key] == plain[number - 1][key]).all()
            expected = expected | {key: 0.8 * expected[key] + 0.2 * model[key]}
            np.testing.assert_allclose(kept[f"ema/{key}"].numpy(), expected[key], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("update", ["weights", "delta"])
def test_fedexp_is_its_paper_for_20_rounds(tmp_path: Path, update: str) -> None:
    """Step max(1, sum p_i |D_i|^2 / 2 (|D|^2 + epsilon)), the norms over all tensors together."""
    chance = np.random.default_rng(11)
    expected = random_tree(chance)
    drift = [[random_like(chance, expected) for _ in range(CLIENTS)] for _ in range(ROUNDS)]
    share = np.array([10 + 7 * n for n in range(CLIENTS)], dtype=np.float64)
    share /= share.sum()

    def updates_of(number: int, w: Tree) -> list[Tree]:
        scale = 1.0 if number % 2 else 1e-3  # below epsilon the step is the plain average
        return [{n: scale * move[n] + (0.0 if update == "delta" else w[n]) for n in w} for move in drift[number - 1]]

    models = run_rounds(tmp_path, spec(update, "fedexp", epsilon=1e-2), expected, updates_of)
    steps = []
    for number, moves in enumerate(drift, 1):
        scale = 1.0 if number % 2 else 1e-3
        squares = [sum(float((scale * part**2 * scale).sum()) for part in move.values()) for move in moves]
        average = {n: scale * part for n, part in mean(moves).items()}
        square = sum(float((part**2).sum()) for part in average.values())
        steps.append(max(1.0, float(share @ squares) / (2 * (square + 1e-2))))
        expected = {n: w + steps[-1] * average[n] for n, w in expected.items()}
        for key in expected:
            np.testing.assert_allclose(models[number - 1][key], expected[key], rtol=1e-9, atol=1e-12)
    assert min(steps) == 1.0
    assert max(steps) > 1.2


def random_like(chance: np.random.Generator, tree: Tree) -> Tree:
    return {name: 0.1 * chance.normal(size=array.shape) for name, array in tree.items()}


TORCH: dict[str, tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "adam": (torch.optim.Adam, {"lr": 0.01, "betas": [0.8, 0.95], "amsgrad": True}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01}),
    "adamax": (torch.optim.Adamax, {"lr": 0.01}),
    "nadam": (torch.optim.NAdam, {"lr": 0.01}),
    "radam": (torch.optim.RAdam, {"lr": 0.01}),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.01, "initial_accumulator_value": 0.1}),
    "adadelta": (torch.optim.Adadelta, {"lr": 1.0}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.01, "momentum": 0.5, "centered": True}),
    "asgd": (torch.optim.ASGD, {"lr": 0.01}),
    "rprop": (torch.optim.Rprop, {"lr": 0.01}),
}


@pytest.mark.parametrize("name", TORCH)
def test_averaged_gradients_equal_one_large_centralised_batch(tmp_path: Path, name: str) -> None:
    """A linear model with mean squared loss: each client's gradient on its rows, weighted by their count."""
    make, options = TORCH[name]
    chance = np.random.default_rng(5)
    start = {"w": chance.normal(size=(3, 2)), "b": chance.normal(size=2)}
    counts = [10 + 7 * index for index in range(CLIENTS)]
    rows = [[(chance.normal(size=(n, 3)), chance.normal(size=(n, 2))) for n in counts] for _ in range(ROUNDS)]

    def gradient(model: Tree, x: np.ndarray, y: np.ndarray) -> Tree:
        error = 2 * (x @ model["w"] + model["b"] - y) / len(y)
        return {"w": x.T @ error, "b": error.sum(0)}

    parameters = {key: torch.nn.Parameter(torch.from_numpy(value.copy())) for key, value in start.items()}
    optimizer = make(
        list(parameters.values()), **{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    )
    models = run_rounds(
        tmp_path,
        spec("gradients", name, **options),
        start,
        lambda number, model: [gradient(model, x, y) for x, y in rows[number - 1]],
    )
    for number in range(ROUNDS):
        x, y = (np.concatenate(parts) for parts in zip(*rows[number], strict=True))
        central = gradient({key: p.detach().numpy() for key, p in parameters.items()}, x, y)
        for key, parameter in parameters.items():
            parameter.grad = torch.from_numpy(central[key])
        optimizer.step()
        for key, parameter in parameters.items():
            np.testing.assert_allclose(models[number][key], parameter.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_gradients_with_fedavg_are_plain_sgd_at_the_rate_of_the_job(tmp_path: Path) -> None:
    chance = np.random.default_rng(5)
    start = random_tree(chance)
    sent = [[random_like(chance, start) for _ in range(CLIENTS)] for _ in range(ROUNDS)]
    task = {"name": "t", "file": "t.py", "digest": "0" * 64}
    job = make_spec({"job": "j", "task": task, "update": "gradients", "train": {"lr": {"0": 0.5, "10": 0.25}}})
    models = run_rounds(tmp_path, job, start, lambda number, _: sent[number - 1])
    expected = start
    for number in range(1, ROUNDS + 1):
        average, eta = mean(sent[number - 1]), 0.5 if number < 10 else 0.25
        expected = {name: expected[name] - eta * average[name] for name in expected}
        for name in expected:
            np.testing.assert_allclose(models[number - 1][name], expected[name], rtol=1e-12, atol=1e-14)
