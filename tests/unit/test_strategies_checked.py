"""A strategy is checked when a job is submitted, without torch; mistakes are answered with the nearest name."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pytest
import torch

from warren.aggregator.strategies import check, checking
from warren.aggregator.strategies.average import Average
from warren.aggregator.strategies.options import STRATEGIES, TORCH
from warren.aggregator.strategies.registry import load, options_of
from warren.storage.errors import SpecInvalid
from warren.storage.job import JobSpec, make_spec


def spec(update: str = "weights", **strategy: Any) -> JobSpec:
    task = {"name": "t", "file": "t.py", "digest": "0" * 64}
    return make_spec({"job": "j", "task": task, "update": update, "strategy": strategy})


def test_checking_a_strategy_imports_no_torch() -> None:
    code = (
        "import sys; from warren.aggregator.strategies import check; from warren.storage.job import make_spec; "
        "check(make_spec({'job': 'j', 'task': {'name': 't', 'file': 't.py', 'digest': '0' * 64}})); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_runs_on_its_defaults(name: str) -> None:
    job = spec(name=name)
    strategy = load(job)
    state = strategy.init({"w": torch.ones(2)}, options_of(job, 1))
    assert all(tensor.shape == (2,) for tensor in state.values())


@pytest.mark.parametrize("name", TORCH)
def test_every_option_of_torchs_optimizers_is_one_that_torch_takes(name: str) -> None:
    options = {key: option.default for key, option in TORCH[name].items() if option.default is not None}
    strategy = load(spec("gradients", name=name))
    given = options_of(spec("gradients", name=name, options=options), 1)
    _, new = strategy.apply({}, {"w": torch.ones(2)}, Average("gradients", {"w": torch.ones(2)}), given, 1)
    assert bool((new["w"] < 1).all())


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "name": ({"name": "fedadm"}, "no strategy 'fedadm'. Did you mean 'fedadam'?"),
    "no near name": ({"name": "zzz"}, "there are adadelta, adagrad"),
    "option": ({"name": "fedadam", "options": {"beta3": 1}}, "strategy.beta3: fedadam has no such option"),
    "near option": ({"name": "fedavgm", "options": {"momentun": 0.9}}, "Did you mean 'momentum'?"),
    "bound": ({"name": "fedavgm", "options": {"momentum": 1.0}}, "at least 0 and below 1 (got '1.0')"),
    "zero rate": ({"name": "fedadam", "options": {"lr": 0}}, "must be a number above 0"),
    "infinite": ({"name": "fedadam", "options": {"lr": float("inf")}}, "must be a number above 0"),
    "NaN": ({"name": "fedadam", "options": {"tau": float("nan")}}, "must be a number above 0"),
    "text": ({"name": "fedadam", "options": {"lr": "0.1"}}, "must be a number"),
    "truth": ({"name": "fedavgm", "options": {"nesterov": 1}}, "true or false"),
    "choice": ({"name": "fedavg", "options": {"accumulate": "fp64"}}, '"float32" or "float64"'),
    "list": ({"name": "adam", "options": {"lr": 1.0, "betas": [0.9]}}, "a list of 2 numbers"),
    "no rate": ({"name": "sgd"}, "needs a rate of its own"),
    "nesterov": ({"name": "sgd", "options": {"lr": 1.0, "nesterov": True}}, "needs a momentum"),
    "fedadam of gradients": ({"name": "fedadam", "update": "gradients"}, 'Choose an optimizer of torch ("sgd"'),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_is_answered_with_its_mend(what: str) -> None:
    fields, words = WRONG[what]
    with pytest.raises(SpecInvalid) as raised:
        check(spec(**fields))
    assert words in str(raised.value)


def test_gradients_take_the_rate_of_training_unless_they_have_their_own() -> None:
    assert options_of(spec("gradients", name="sgd"), 3)["lr"] == 0.1
    assert options_of(spec("gradients", name="sgd", options={"lr": 0.7}), 3)["lr"] == 0.7
    check(spec("gradients"))


class Halving:
    """A strategy as another package would bring it."""

    @staticmethod
    def init(weights: Any, options: Any) -> Any:
        return {}

    @staticmethod
    def apply(state: Any, weights: Any, average: Any, options: Any, round_number: int) -> Any:
        return state, {name: average.weights(name, w) / options["by"] for name, w in weights.items()}


def test_an_installed_strategy_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("their_package")
    package.Halving = Halving  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "their_package", package)
    found = [
        EntryPoint("halving", "their_package:Halving", checking.GROUP),
        EntryPoint("broken", "no_such_package:x", checking.GROUP),
        EntryPoint("empty", "their_package:__name__", checking.GROUP),
    ]
    monkeypatch.setattr(checking, "entry_points", lambda group: found)
    job = spec(name="halving", options={"by": 2.0})
    check(job)
    assert load(job) is Halving
    with pytest.raises(SpecInvalid, match="can't be loaded: ModuleNotFoundError"):
        load(spec(name="broken"))
    with pytest.raises(SpecInvalid, match="no functions init and apply"):
        load(spec(name="empty"))
