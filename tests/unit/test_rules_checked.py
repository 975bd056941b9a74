"""A job's local rule is checked when the job is submitted, what a client says for it when its update comes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made.federation import Federation

from warren.aggregator.ports import UpdateRejected
from warren.aggregator.strategies import check
from warren.storage import keys
from warren.storage.errors import SpecInvalid
from warren.storage.job import JobSpec, make_spec
from warren.storage.keys import UpdateName
from warren.storage.rules import counts_examples
from warren.storage.tensors import read_header
from warren.storage.torch_tensors import map_file, save
from warren.trainer.errors import TaskError
from warren.trainer.wire import Trained

TASK = """
import torch
from torch.utils.data import TensorDataset

def model():
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))

def data(client):
    chance = torch.Generator().manual_seed(client.index)
    x = torch.randn(24, 3, generator=chance)
    return TensorDataset(x, (x[:, 0] > 0).long())
"""


def spec(**fields: Any) -> JobSpec:
    return make_spec({"job": "j", "task": {"name": "t", "file": "t.py", "digest": "0" * 64}, **fields})


RIGHT: list[dict[str, Any]] = [
    {"strategy": {"name": "scaffold"}, "train": {"weight_decay": 0.1, "lr": {"0": 0.1, "5": 0.01}}},
    {"strategy": {"name": "fednova"}, "train": {"momentum": 0.9, "mu": 0.1}},
    {"strategy": {"name": "feddyn"}, "train": {"optimizer": "adam"}},
    {"strategy": {"name": "fedadam"}, "train": {"rule": "fedbn", "local": ["head.*"]}},
    {"strategy": {"name": "fedavgm"}, "train": {"rule": "ditto", "mu": 0.1, "lam": 0.5}},
    {"reducer": {"name": "median"}, "train": {"rule": "fedsam", "rho": 0.1}},
    {"reducer": {"name": "median"}, "train": {"local": ["head.*"]}, "update": "delta"},
]

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "gradients": ({"update": "gradients", "train": {"rule": "ditto"}}, "about training"),
    "two rules": ({"strategy": {"name": "scaffold"}, "train": {"rule": "fedbn"}}, "train.rule"),
    "two sides": ({"strategy": {"name": "feddyn"}, "train": {"local": ["a"]}}, "train.local"),
    "robust": ({"strategy": {"name": "scaffold"}, "reducer": {"name": "median"}}, "reducer.name"),
    "asynchronous": (
        {"strategy": {"name": "fedavg"}, "train": {"rule": "fedbn"}, "schedule": {"kind": "fedasync"}},
        "schedule.kind",
    ),
    "adam": ({"strategy": {"name": "scaffold"}, "train": {"optimizer": "adam"}}, "train.optimizer"),
    "nesterov": ({"strategy": {"name": "fednova"}, "train": {"options": {"nesterov": True}}}, "train.optimizer"),
    "momentum": ({"strategy": {"name": "scaffold"}, "train": {"momentum": 0.9}}, "train.momentum"),
    "clip": ({"strategy": {"name": "scaffold"}, "train": {"clip": 1.0}}, "train.clip"),
    "fp16": ({"strategy": {"name": "fednova"}, "train": {"precision": "fp16"}}, "train.precision"),
    "sam fp16": ({"train": {"rule": "fedsam", "precision": "fp16"}}, "train.precision"),
    "mu": ({"strategy": {"name": "feddyn"}, "train": {"mu": 0.1}}, "train.mu"),
    "large mu": ({"strategy": {"name": "fednova"}, "train": {"mu": 10, "lr": {"0": 0.01, "3": 0.1}}}, "below 1"),
    "no names": ({"train": {"rule": "fedper"}}, "train.local"),
    "ditto local": ({"train": {"rule": "ditto", "local": ["a"]}}, "train.local"),
    "lam alone": ({"train": {"lam": 0.5}}, "train.lam"),
    "rho alone": ({"train": {"rule": "ditto", "rho": 0.5}}, "train.rho"),
    "a strategy as a rule": ({"train": {"rule": "scaffold"}}, "train.rule"),
}


@pytest.mark.parametrize("fields", RIGHT)
def test_what_goes_together_is_taken(fields: dict[str, Any]) -> None:
    check(spec(**fields))


@pytest.mark.parametrize("name", WRONG)
def test_what_means_nothing_is_refused_with_the_field_at_fault(name: str) -> None:
    fields, words = WRONG[name]
    with pytest.raises(SpecInvalid, match=words):
        check(spec(**fields))


def test_checking_a_rule_imports_no_torch() -> None:
    code = (
        "import sys; from warren.aggregator.strategies import check; from warren.storage.job import make_spec; "
        "check(make_spec({'job': 'j', 'task': {'name': 't', 'file': 't.py', 'digest': '0' * 64}, "
        "'strategy': {'name': 'scaffold'}})); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_scaffold_and_feddyn_are_even_unless_the_job_says_otherwise() -> None:
    assert not counts_examples(spec(strategy={"name": "scaffold"}))
    assert not counts_examples(spec(strategy={"name": "feddyn"}))
    assert counts_examples(spec(strategy={"name": "scaffold", "weighting": "examples"}))
    assert counts_examples(spec(strategy={"name": "fednova"}))
    assert counts_examples(spec())


Change = Callable[[dict[str, torch.Tensor], dict[str, str]], object]

LIES: dict[str, tuple[str, Change, str]] = {
    "no control": ("scaffold", lambda t, m: t.pop("warren/dc/0.weight"), "warren/dc/0.weight"),
    "a control of another shape": (
        "scaffold",
        lambda t, m: t.update({"warren/dc/0.weight": torch.zeros(1)}),
        "warren/dc/0.weight",
    ),
    "a control of what is not trained": (
        "scaffold",
        lambda t, m: t.update({"warren/dc/1.running_mean": torch.zeros(4)}),
        "not in the model",
    ),
    "a control that is no number": (
        "scaffold",
        lambda t, m: t["warren/dc/0.weight"].fill_(float("nan")),
        "NaN",
    ),
    "no state": ("feddyn", lambda t, m: m.pop("state"), "keeps"),
    "another state's size": ("feddyn", lambda t, m: m.update(state_bytes="7"), "keeps"),
    "no norm": ("fednova", lambda t, m: m.pop("terms"), "terms has a"),
    "a norm of 0": ("fednova", lambda t, m: m.update(terms='{"a": 0}'), "terms has a 0"),
    "a norm beyond all": ("fednova", lambda t, m: m.update(terms='{"a": 1e300}'), "terms has a 1e"),
    "an infinite loss": ("qfedavg", lambda t, m: m.update(terms='{"distance": 1, "loss": 1e999}'), "loss None"),
    "a distance below 0": ("qfedavg", lambda t, m: m.update(terms='{"distance": -1, "loss": 1}'), "distance -1"),
}


@pytest.mark.parametrize("name", LIES)
def test_an_update_without_what_its_algorithm_needs_is_rejected_and_named(name: str, tmp_path: Path) -> None:
    strategy, change, words = LIES[name]
    job = Federation(tmp_path, TASK, clients=2, strategy={"name": strategy}, train={"lr": 0.1})
    work = job.work("train", "c000")
    told = job.runner.run(work, lambda: True)
    assert isinstance(told, Trained)
    if told.state is not None:
        job.store.create(keys.client_state("j", "c000", 1, work.attempt), told.state[0])
    tensors = {name: tensor.clone() for name, tensor in map_file(told.path).items()}
    metadata = dict(read_header(told.path).metadata)
    change(tensors, metadata)
    save(tmp_path / "lie", tensors, metadata)
    update = UpdateName("j", 1, "pool.default", "c000", work.attempt)
    job.store.create(keys.update("j", 1, update.source, "c000", work.attempt), tmp_path / "lie")
    with pytest.raises(UpdateRejected, match=words):
        job.numbers.examine(update, job.spec, job.numbers.base("j", 0), None)


def test_a_plain_update_may_not_bring_tensors_of_an_algorithm(tmp_path: Path) -> None:
    job = Federation(tmp_path, TASK, clients=2, train={"lr": 0.1})
    work = job.work("train", "c000")
    told = job.runner.run(work, lambda: True)
    assert isinstance(told, Trained)
    tensors = map_file(told.path) | {"warren/dc/0.weight": torch.zeros(4, 3)}
    save(tmp_path / "lie", tensors, dict(read_header(told.path).metadata))
    update = UpdateName("j", 1, "pool.default", "c000", work.attempt)
    job.store.create(keys.update("j", 1, update.source, "c000", work.attempt), tmp_path / "lie")
    with pytest.raises(UpdateRejected, match="not in the model"):
        job.numbers.examine(update, job.spec, job.numbers.base("j", 0), None)


def test_an_initial_model_may_keep_nothing_local_where_the_job_does_not(tmp_path: Path) -> None:
    job = Federation(tmp_path, TASK, clients=2, train={"lr": 0.1})
    first = job.store.local_path(keys.update("j", 0, "pool.default", "c000", "a1"))
    assert first is not None
    metadata = dict(read_header(first).metadata) | {"attempt": "a9", "local": json.dumps(["0.weight"])}
    save(tmp_path / "lie", map_file(first), metadata)
    job.store.create(keys.update("j", 0, "pool.default", "c000", "a9"), tmp_path / "lie")
    with pytest.raises(UpdateRejected, match="local"):
        job.numbers.examine(UpdateName("j", 0, "pool.default", "c000", "a9"), job.spec, None, None)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"local": ["hed.*"]}, "names no tensor"),
        ({"local": ["*"]}, "nothing be averaged"),
        ({"rule": "fedbn"}, "no BatchNorm layer"),
    ],
)
def test_layers_that_can_not_stay_are_named_at_the_first_round(
    tmp_path: Path, train: dict[str, Any], words: str
) -> None:
    plain = TASK.replace("torch.nn.BatchNorm1d(4)", "torch.nn.ReLU()")
    with pytest.raises(TaskError, match=words):
        Federation(tmp_path, plain, clients=2, train=train)


def test_a_loop_of_the_tasks_own_is_told_that_it_can_not_follow_scaffold(tmp_path: Path) -> None:
    own = TASK + "\ndef train(model, dataset, context):\n    pass\n"
    job = Federation(tmp_path, own, clients=2, strategy={"name": "scaffold"})
    with pytest.raises(TaskError, match="scaffold"):
        job.train("c000")


def test_a_loop_of_the_tasks_own_may_keep_layers_at_home(tmp_path: Path) -> None:
    own = TASK + "\ndef train(model, dataset, context):\n    model[1].weight.data += 1\n    model[0].weight.data += 1\n"
    job = Federation(tmp_path, own, clients=2, train={"rule": "fedbn"})
    first = job.model()
    job.run(["c000"])
    job.run(["c000", "c001"])
    torch.testing.assert_close(job.model()["0.weight"], first["0.weight"] + 2)
    assert torch.equal(job.model()["1.weight"], first["1.weight"])
    assert torch.equal(job.kept("c000")["own/1.weight"], first["1.weight"] + 2)
    assert torch.equal(job.kept("c001")["own/1.weight"], first["1.weight"] + 1)


def test_clients_are_evaluated_with_their_own_layers(tmp_path: Path) -> None:
    own = TASK + "\ndef train(model, dataset, context):\n    model[2].bias.data += torch.tensor([0.0, 100.0])\n"
    job = Federation(tmp_path, own, clients=2, train={"local": ["2.bias"]}, evaluate={"share": 0.5})
    before = job.evaluate("c000").metrics["loss"]
    job.run(["c000"])
    assert job.evaluate("c001").metrics["loss"] < 10
    assert job.evaluate("c000").metrics["loss"] > 10 > before
