"""The asynchronous rules against references written from the papers in numpy float64: 20 versions, random trees."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from warren.aggregator.checkpoint import read_start, write_checkpoint
from warren.aggregator.staleness import discount
from warren.aggregator.strategies.checking import check
from warren.storage.documents import Entry, Manifest
from warren.storage.errors import SpecInvalid
from warren.storage.job import JobSpec, make_spec, read_spec, write_spec
from warren.storage.schedule import ScheduleSpec
from warren.storage.torch_tensors import save

VERSIONS = 20
CLIENTS = 6
Tree = dict[str, np.ndarray]
Arrivals = list[tuple[int, Tree]]  # staleness, and what was sent
Reference = Callable[[Tree, Arrivals], Tree]


def spec(schedule: dict[str, Any], **fields: Any) -> JobSpec:
    task = {"name": "t", "file": "t.py", "digest": "0" * 64}
    return make_spec({"job": "j", "task": task, "clients": CLIENTS, "schedule": schedule, **fields})


def random_tree(chance: np.random.Generator, like: Tree | None = None) -> Tree:
    shapes = [tuple(chance.integers(1, 6, size=chance.integers(0, 4))) for _ in range(4)]
    if like is not None:
        return {name: chance.normal(size=array.shape) for name, array in like.items()}
    return {f"layer{n}.w": chance.normal(size=shape) for n, shape in enumerate(shapes)}


def tensors_of(tree: Tree) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.asarray(array)) for name, array in tree.items()}


def run_versions(folder: Path, job: JobSpec, start: Tree, arrivals: Callable[[int], Arrivals]) -> list[Tree]:
    """The model of each version, made through files as an aggregator makes it."""
    said = {"trainable": json.dumps(sorted(start)), "tied": "{}"}
    base, state, models = folder / "base", None, []
    save(base, tensors_of(start), said)
    for number in range(1, VERSIONS + 1):
        entries, paths = [], {}
        for index, (stale, tree) in enumerate(arrivals(number)):
            path = folder / f"u{number}.{index}"
            written = save(path, tensors_of(tree), said)
            paths[written.digest] = path
            facts: dict[str, Any] = {"digest": written.digest, "size": written.size, "examples": 10 + 7 * index}
            entries.append(Entry(client=f"c{index}", source="pool.p", attempt="a", base=number - 1 - stale, **facts))
        out, state_out = folder / f"model{number}", folder / f"state{number}"
        manifest = Manifest(job="j", round=number, entries=tuple(entries))
        _, wrote = write_checkpoint(job, manifest, base, state, lambda e: paths[e.digest], None, out, state_out)  # noqa: B023
        base, state = out, state_out if wrote else None
        models.append({name: tensor.numpy().copy() for name, tensor in read_start(out).tensors.items()})
    return models


def fedasync(s: Callable[[int], float]) -> Reference:
    def step(w: Tree, arrived: Arrivals) -> Tree:
        ((stale, new),) = arrived
        share = 0.7 * s(stale)
        return {name: (1 - share) * w[name] + share * new[name] for name in w}

    return step


def fedbuff(w: Tree, arrived: Arrivals) -> Tree:
    return {name: w[name] + sum(d[name] / np.sqrt(1 + t) for t, d in arrived) / len(arrived) for name in w}


def ssp(w: Tree, arrived: Arrivals) -> Tree:
    return {name: w[name] + sum(d[name] for _, d in arrived) / CLIENTS for name in w}


def ssp_gradients(w: Tree, arrived: Arrivals) -> Tree:
    return {name: w[name] - 0.25 * sum(g[name] for _, g in arrived) / CLIENTS for name in w}


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], int | None, Reference]] = {
    "fedasync, constant": ({"kind": "fedasync", "alpha": 0.7, "discount": "constant"}, {}, 1, fedasync(lambda t: 1.0)),
    "fedasync, polynomial": ({"kind": "fedasync", "alpha": 0.7}, {}, 1, fedasync(lambda t: (t + 1) ** -0.5)),
    "fedasync, hinge": (
        {"kind": "fedasync", "alpha": 0.7, "discount": "hinge", "a": 10.0, "b": 4.0},
        {},
        1,
        fedasync(lambda t: 1.0 if t <= 4 else 1 / (10 * (t - 4) + 1)),
    ),
    "fedbuff": ({"kind": "fedbuff", "buffer": 3}, {}, 3, fedbuff),
    "ssp": ({"kind": "ssp", "staleness": 5}, {}, None, ssp),
    "ssp, gradients": (
        {"kind": "ssp", "staleness": 5},
        {"update": "gradients", "train": {"lr": 0.25}},
        None,
        ssp_gradients,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_schedule_is_its_papers_rule(tmp_path: Path, case: str) -> None:
    schedule, fields, count, reference = CASES[case]
    chance = np.random.default_rng(sum(case.encode()))
    start = random_tree(chance)
    sent: dict[int, Arrivals] = {}

    def arrivals(number: int) -> Arrivals:
        many = count or int(chance.integers(1, CLIENTS + 1))
        sent[number] = [(int(chance.integers(0, min(number, 9))), random_tree(chance, start)) for _ in range(many)]
        return sent[number]

    models = run_versions(tmp_path, spec(schedule, **fields), start, arrivals)
    w = start
    for number, model in enumerate(models, 1):
        w = reference(w, sent[number])
        for name in w:
            np.testing.assert_allclose(model[name], w[name], rtol=1e-12, atol=1e-12)


def test_ssp_with_all_taking_part_is_uniform_fedavg_byte_for_byte(tmp_path: Path) -> None:
    chance = np.random.default_rng(5)
    start = {name: array.astype(np.float32) for name, array in random_tree(chance).items()}
    sent = {
        number: [(0, {k: v.astype(np.float32) for k, v in random_tree(chance, start).items()}) for _ in range(CLIENTS)]
        for number in range(1, VERSIONS + 1)
    }
    strategies: list[dict[str, Any]] = [{"name": "fedavg"}, {"name": "fedadam"}]
    for strategy in strategies:
        uniform = {"update": "delta", "strategy": {**strategy, "weighting": "uniform"}}
        one, other = tmp_path / f"ssp-{strategy['name']}", tmp_path / f"sync-{strategy['name']}"
        for folder, schedule in ((one, {"kind": "ssp"}), (other, {"kind": "synchronous"})):
            folder.mkdir()
            run_versions(folder, spec(schedule, **uniform), start, sent.__getitem__)
        for number in range(1, VERSIONS + 1):
            assert (one / f"model{number}").read_bytes() == (other / f"model{number}").read_bytes()


def test_a_discount_is_one_for_a_fresh_update_and_never_grows() -> None:
    for schedule in (
        ScheduleSpec(kind="fedbuff", discount="constant"),
        ScheduleSpec(kind="fedbuff"),
        ScheduleSpec(kind="fedasync", discount="hinge", a=10.0, b=4.0),
    ):
        values = [discount(schedule, t) for t in range(50)]
        assert values[0] == 1.0
        assert values == sorted(values, reverse=True)
        assert values[-1] > 0


def test_an_asynchronous_job_has_the_defaults_that_go_with_its_schedule() -> None:
    found = {
        kind: spec({"kind": kind, **own}) for kind, own in (("ssp", {}), ("fedasync", {}), ("fedbuff", {"buffer": 3}))
    }
    assert {kind: (job.update, job.quorum, job.strategy.weighting) for kind, job in found.items()} == {
        "ssp": ("delta", "80%", "uniform"),
        "fedasync": ("weights", 1, "uniform"),
        "fedbuff": ("delta", 1, "uniform"),
    }  # fmt: skip
    assert all(read_spec(write_spec(job)) == job for job in found.values())


@pytest.mark.parametrize(
    ("schedule", "fields", "words"),
    [
        ({"kind": "fedbuff", "buffer": 3}, {"update": "weights"}, 'update: fedbuff works on "delta" or "gradients"'),
        ({"kind": "fedasync"}, {"update": "delta"}, 'update: fedasync works on "weights"'),
        ({"kind": "fedasync"}, {"over_select": 1}, "over_select: nobody waits"),
        ({"kind": "fedasync"}, {"below_quorum": "resample"}, "below_quorum: fedasync always asks another"),
        ({"kind": "fedasync"}, {"strategy": {"weighting": "examples"}}, "strategy.weighting: fedasync counts"),
        ({"kind": "ssp"}, {"fraction": 0.5}, "fraction: in ssp all clients take part"),
        ({"kind": "fedbuff", "buffer": 7}, {}, "schedule.buffer: 7 updates of different clients never come together"),
        ({"kind": "fedbuff", "buffer": 3, "alpha": 0.5}, {}, "alpha means nothing to fedbuff"),
        ({"staleness": 3}, {}, "staleness means nothing to synchronous; it is an option of ssp"),
    ],
)
def test_what_does_not_go_with_a_schedule_is_refused_at_submit(
    schedule: dict[str, Any], fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(SpecInvalid) as refused:
        spec(schedule, **fields)
    assert words in str(refused.value)


@pytest.mark.parametrize("fields", [{"strategy": {"name": "scaffold"}}, {"train": {"rule": "fedbn"}}])
def test_algorithms_that_follow_clients_from_round_to_round_are_refused(fields: dict[str, Any]) -> None:
    job = spec({"kind": "fedbuff", "buffer": 3}, **fields)
    with pytest.raises(SpecInvalid) as refused:
        check(job)
    assert "rounds that all begin with one model" in str(refused.value)
