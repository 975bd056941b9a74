"""Counted metrics: as torchmetrics has them over all examples at once, however the examples lie with clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torchmetrics
from torch import nn
from torch.utils.data import Subset, TensorDataset

from warren.aggregator.answers import Answer, merged_metrics
from warren.aggregator.evaluation import Pending, summarise
from warren.broker.errors import MessageUnreadable
from warren.broker.messages import COUNTS_MAX, Completion, decode, encode
from warren.storage import counting
from warren.storage.documents import Base
from warren.storage.errors import SpecInvalid
from warren.storage.job import TrainSpec, make_spec
from warren.trainer.errors import TaskError
from warren.trainer.evaluate import evaluate
from warren.trainer.local import Setting
from warren.trainer.losses import default_loss
from warren.trainer.task_calls import Wanted

CLASSES = ("accuracy", "precision", "recall", "specificity", "f1", "f2", "f0.5", "mcc", "auroc")
ERRORS = ("mae", "mse", "rmse", "r2")


def answers(
    output: torch.Tensor, target: torch.Tensor, names: Sequence[str], cuts: Sequence[int], positive: int = 1
) -> list[Answer]:
    """Each client's answer, as its completion carries it, where clients hold the rows between the cuts."""
    data = TensorDataset(output, target)
    setting = Setting(TrainSpec(), 1, 0, torch.device("cpu"), default_loss)
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(output)], strict=True):
        share = Subset(data, range(start, end))
        wanted = Wanted(None, tuple(names), positive)
        measured = evaluate(nn.Identity(), share, setting, batch_size=7, wanted=wanted)
        told = decode(encode(completion(measured, names)), Completion)
        found.append(Answer(told.examples, told.metrics, told.counts, told.counted))
    return found


def completion(measured: Any, names: Sequence[str]) -> Completion:
    return Completion(
        job="j",
        round=1,
        kind="evaluate",
        client="c0",
        attempt="a",
        outcome="evaluated",
        examples=measured.examples,
        metrics=measured.metrics,
        counts=measured.counts,
        counted=tuple(names),
    )


def drawn(rows: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs that are right more often than not, targets that are unevenly frequent."""
    chance = torch.Generator().manual_seed(seed)
    target = (torch.rand(rows, generator=chance) ** 2 * classes).long()
    output = torch.randn(rows, classes, generator=chance)
    output[torch.arange(rows), target] += 1.0
    return output, target


def torchmetrics_of(name: str, output: torch.Tensor, target: torch.Tensor) -> float:
    """The same metric by torchmetrics, on all examples at once."""
    k = output.shape[1]
    task: dict[str, Any] = {"task": "binary"} if k == 2 else {"task": "multiclass", "num_classes": k}
    scores = output.softmax(1)[:, 1] if k == 2 else output.softmax(1)
    macro = {} if k == 2 or name in ("mcc",) else {"average": "micro" if name == "accuracy" else "macro"}
    beta = counting.beta_of(name)
    if beta is not None:
        return float(torchmetrics.FBetaScore(**task, **macro, beta=beta)(scores, target))
    kinds = {
        "accuracy": torchmetrics.Accuracy,
        "precision": torchmetrics.Precision,
        "recall": torchmetrics.Recall,
        "specificity": torchmetrics.Specificity,
        "mcc": torchmetrics.MatthewsCorrCoef,
        "auroc": torchmetrics.AUROC,
    }
    binned = {"thresholds": counting.BINS} if name == "auroc" else {}
    return float(kinds[name](**task, **macro, **binned)(scores, target))


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("name", CLASSES)
def test_over_uneven_clients_a_metric_is_what_torchmetrics_says_of_all_examples(name, classes):
    output, target = drawn(400, classes, seed=classes)
    found = merged_metrics(answers(output, target, [name], cuts=[3, 200, 390]))
    assert found[name] == pytest.approx(torchmetrics_of(name, output, target), abs=2e-6)


@pytest.mark.parametrize("name", ERRORS)
def test_errors_of_a_regression_are_those_of_all_examples(name):
    chance = torch.Generator().manual_seed(1)
    target = torch.randn(300, 1, generator=chance) * 3 + 1
    output = target + torch.randn(300, 1, generator=chance)
    kinds = {
        "mae": torchmetrics.MeanAbsoluteError(),
        "mse": torchmetrics.MeanSquaredError(),
        "rmse": torchmetrics.MeanSquaredError(squared=False),
        "r2": torchmetrics.R2Score(),
    }
    found = merged_metrics(answers(output, target, [name], cuts=[4, 250]))
    assert found[name] == pytest.approx(float(kinds[name](output.flatten(), target.flatten())), rel=1e-5)


def test_binning_moves_auroc_by_no_more_than_its_bound():
    output, target = drawn(500, 2)
    output = output * 4  # sure of itself: many probabilities share the outer bins
    counts = answers(output, target, ["auroc"], cuts=[])[0].counts
    exact = float(torchmetrics.AUROC(task="binary")(output.softmax(1)[:, 1], target))
    bound = counting.auroc_error(counts)
    assert 0 < bound < 0.05
    assert abs(counting.measure("auroc", counts) - exact) <= bound  # type: ignore[operator]


def test_clients_of_one_class_each_have_no_auroc_and_yet_there_is_one_of_all():
    output, target = drawn(200, 2)
    order = target.argsort()
    output, target = output[order], target[order]
    clients = answers(output, target, ["auroc"], cuts=[int((target == 0).sum())])
    assert all("auroc" not in answer.metrics for answer in clients)
    assert merged_metrics(clients)["auroc"] == pytest.approx(torchmetrics_of("auroc", output, target), abs=1e-6)


def test_recall_is_no_mean_of_recalls():
    output = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    target = torch.tensor([1, 0, 1, 1, 1])  # the first client finds its one, the second none of its three
    clients = answers(output, target, ["recall"], cuts=[2])
    assert [answer.metrics["recall"] for answer in clients] == [1.0, 0.0]
    assert merged_metrics(clients)["recall"] == 0.25


def test_the_positive_class_is_the_one_that_the_task_names():
    output, target = drawn(200, 2)
    zero = merged_metrics(answers(output, target, ["recall", "f2", "auroc"], cuts=[50], positive=0))
    flipped = merged_metrics(answers(output.flip(1), 1 - target, ["recall", "f2", "auroc"], cuts=[50]))
    assert {name: zero[name] for name in ("recall", "f2", "auroc")} == pytest.approx(
        {name: flipped[name] for name in ("recall", "f2", "auroc")}
    )


def test_one_logit_an_example_is_a_binary_classifier():
    output, target = drawn(200, 2)
    logit = (output[:, 1] - output[:, 0])[:, None]
    setting = Setting(TrainSpec(), 1, 0, torch.device("cpu"), nn.functional.binary_cross_entropy_with_logits)
    data = TensorDataset(logit, target.float()[:, None])
    found = evaluate(nn.Identity(), data, setting, batch_size=64, wanted=Wanted(None, ("f1", "auroc"), 1))
    assert found.metrics["f1"] == pytest.approx(torchmetrics_of("f1", output, target), abs=1e-6)
    assert found.metrics["auroc"] == pytest.approx(torchmetrics_of("auroc", output, target), abs=1e-4)


def test_a_tasks_own_pair_adds_up_over_clients():
    ill = [Answer(100, {"recall": 1.0}, {"sum:recall": [1, 1]}), Answer(10, {"recall": 0.5}, {"sum:recall": [4, 8]})]
    assert merged_metrics(ill)["recall"] == pytest.approx(5 / 9)


def test_of_an_older_trainer_the_mean_by_examples_is_taken():
    old = Answer(30, {"loss": 2.0, "f1": 0.5})
    new = Answer(10, {"loss": 1.0, "f1": 0.9}, {"sum:loss": [10, 10]}, ("f1",))
    assert merged_metrics([old, new]) == pytest.approx({"loss": 1.75, "f1": 0.6})


@pytest.mark.parametrize(
    "counts",
    [
        {"class:right": [5, 5], "class:predicted": [4, 6], "class:actual": [5, 5]},  # more right than predicted
        {"class:right": [1, -1], "class:predicted": [4, 6], "class:actual": [5, 5]},
        {"class:right": [1, 1, 1], "class:predicted": [4, 6], "class:actual": [5, 5]},
        {"class:right": [1e308, 1], "class:predicted": [1e308, 6], "class:actual": [1e308, 5]},
        {"class:right": [float("nan"), 1], "class:predicted": [4, 6], "class:actual": [5, 5]},
        {"class:right": [1, 1]},
        {"score:1:in": [1, 2], "score:1:out": [2, 1]},
        {"sum:loss": [1, 0]},
        {"sum:loss": [1, 2, 3]},
        {"error": [1, 2, 3]},
        {"class:right": []},
    ],
)
def test_counts_that_can_not_be_counts_are_left_out(counts):
    assert counting.sound(counts) == {}
    good = answers(*drawn(50, 2), ["f1"], cuts=[])
    bad = Answer(1000, {"f1": 0.0}, counts, ("f1",))
    assert merged_metrics([*good, bad])["f1"] == merged_metrics(good)["f1"]


def test_a_client_with_another_number_of_classes_does_not_spoil_the_rest():
    honest = answers(*drawn(100, 3), ["f1"], cuts=[30, 60])
    odd = answers(*drawn(40, 5), ["f1"], cuts=[])
    assert merged_metrics([*odd, *honest])["f1"] == merged_metrics(honest)["f1"]


def test_the_document_holds_metrics_and_no_counts():
    output, target = drawn(60, 2)
    first, second = answers(output, target, ["f1"], cuts=[20])
    asked = frozenset({("evaluate", "c000"), ("evaluate", "c001")})
    pending = Pending(Base(key="k", digest="0" * 64, size=1), asked, 0.0)
    pending.results = {("evaluate", "c000"): first, ("evaluate", "c001"): second}
    spec = make_spec({"job": "j", "task": {"name": "t", "file": "t.py", "digest": "0" * 64}, "clients": 2})
    document = summarise(spec, 1, pending, "")
    assert document.validation["f1"] == pytest.approx(torchmetrics_of("f1", output, target), abs=1e-6)
    assert document.clients["c001"].metrics == second.metrics
    assert b"class:right" not in document.model_dump_json().encode()


def test_a_message_with_too_many_counts_is_refused():
    many = {f"score:{n}:in": [1] * 200 for n in range(COUNTS_MAX // 200 + 1)}
    fields = {"job": "j", "round": 1, "kind": "evaluate", "client": "c", "attempt": "a", "outcome": "evaluated"}
    unchecked = Completion.model_construct(**fields, counts=many)
    with pytest.raises(MessageUnreadable, match="counts; at most"):
        decode(encode(unchecked), Completion)


def test_auroc_of_the_most_classes_fits_into_a_message():
    output, target = drawn(2000, counting.SCORED_CLASSES_MAX)
    told = answers(output, target, CLASSES, cuts=[])[0]
    assert sum(map(len, told.counts.values())) <= COUNTS_MAX
    with pytest.raises(TaskError, match="33 classes; at most 32"):
        answers(*drawn(20, counting.SCORED_CLASSES_MAX + 1), ["auroc"], cuts=[])


def test_a_metric_that_does_not_exist_or_does_not_fit_is_named():
    fields = {"job": "j", "task": {"name": "t", "file": "t.py", "digest": "0" * 64}}
    with pytest.raises(SpecInvalid, match="no metric is named 'auorc'; did you mean 'auroc'"):
        make_spec({**fields, "evaluate": {"metrics": ["auorc"]}})
    assert make_spec({**fields, "evaluate": {"metrics": ["f0.5", "auroc"]}}).evaluate.metrics == ("f0.5", "auroc")
    output, target = drawn(20, 3)
    with pytest.raises(TaskError, match="mae need equal shapes"):
        answers(output, target, ["mae"], cuts=[])
    setting = Setting(TrainSpec(), 1, 0, torch.device("cpu"), lambda o, t: o.sum())
    data = TensorDataset(output, target + 2)
    with pytest.raises(TaskError, match="outside 0 to 2"):
        evaluate(nn.Identity(), data, setting, batch_size=8, wanted=Wanted(None, ("f1",)))
