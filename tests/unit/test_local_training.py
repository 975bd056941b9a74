"""Local training: what a client computes, with no process around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, Subset, TensorDataset
from training.models import gradients, network, rows, weights

from warren.storage.job import TrainSpec
from warren.trainer.batches import Batches, Placing, draw, split
from warren.trainer.errors import NeedsGpu, NonFiniteLoss, TaskError, TrainingStopped
from warren.trainer.evaluate import evaluate
from warren.trainer.local import Setting, batches_of, gradient, train_own, train_weights
from warren.trainer.losses import default_loss
from warren.trainer.optimizers import make_optimizer, optimizer_names, step
from warren.trainer.task import Client
from warren.trainer.task_calls import Wanted

CPU = torch.device("cpu")
CLIENT = Client(name="c000", index=0, count=2, site=None, data_dir=None, seed=1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As a trainer has; two on a busy machine wait for each other, and take 50 times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def setting(**train: Any) -> Setting:
    return Setting(TrainSpec(**train), job_round=1, order_seed=5, device=CPU, loss=default_loss)


@pytest.mark.parametrize(("batch_size", "accumulate"), [(0, 1), (8, 1), (4, 3)])
def test_averaged_gradients_equal_the_gradient_of_the_joined_batch(batch_size, accumulate):
    sizes = [9, 17, 40]  # the first has fewer examples than a batch of 4 x 3
    clients = [rows(size, seed=size) for size in sizes]
    total, examples, joined = torch.zeros(()).double(), 0, []
    for data in clients:
        model = network(dtype=torch.float64)
        ours = setting(batch_size=batch_size, accumulate=accumulate, precision="fp64")
        learned = gradient(model, data, ours)
        total = total + gradients(model) * learned.examples
        examples += learned.examples
        order = next(draw(data, ours.order_seed, shuffle=True))
        joined.append(order[: batch_size * accumulate] if batch_size else order)
    central = network(dtype=torch.float64)
    x = torch.cat([data.tensors[0][chosen] for data, chosen in zip(clients, joined, strict=True)])
    y = torch.cat([data.tensors[1][chosen] for data, chosen in zip(clients, joined, strict=True)])
    default_loss(central(x), y).backward()
    assert examples == len(x)
    torch.testing.assert_close(total / examples, gradients(central), rtol=0, atol=1e-12)


def test_a_gradient_is_taken_at_the_weights_given_and_leaves_them():
    model = network()
    before = weights(model)
    gradient(model, rows(30), setting(batch_size=8))
    assert torch.equal(weights(model), before)


def test_local_sgd_equals_torch_written_by_hand():
    data, model, ours = rows(20), network(), setting(batch_size=8, epochs=2, lr=0.2, momentum=0.9)
    learned = train_weights(model, data, ours)
    hand = network()
    optimizer = torch.optim.SGD(hand.parameters(), lr=0.2, momentum=0.9)
    orders = draw(data, 5, shuffle=True)
    for order in (next(orders), next(orders)):
        for chosen in order.split(8):
            optimizer.zero_grad()
            x, y = data.tensors[0][chosen].float(), data.tensors[1][chosen]
            default_loss(hand(x), y).backward()
            optimizer.step()
    assert torch.equal(weights(model), weights(hand))
    assert learned.examples == 20


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam", "adadelta"])
def test_a_step_without_torchs_wrappers_is_the_same_step(name):
    ours, theirs = network(), network()
    spec = TrainSpec(optimizer=name, lr=0.01)
    optimizers = [make_optimizer(spec, list(model.parameters()), 0.01) for model in (ours, theirs)]
    for _ in range(3):
        for model in (ours, theirs):
            model.zero_grad()
            x, y = rows(8)[:]
            default_loss(model(x.float()), y).backward()
        step(optimizers[0])
        optimizers[1].step()
    assert torch.equal(weights(ours), weights(theirs))
    assert not torch.equal(weights(ours), weights(network()))


def test_fedprox_pulls_towards_the_start_and_mu_0_is_bit_for_bit_none():
    far = {mu: network() for mu in (0.0, 1.0, 10.0)}
    for mu, model in far.items():
        train_weights(model, rows(40), setting(epochs=5, batch_size=4, lr=0.05, mu=mu))
    plain = network()
    train_weights(plain, rows(40), setting(epochs=5, batch_size=4, lr=0.05))
    moved = {mu: float((weights(model) - weights(network())).norm()) for mu, model in far.items()}
    assert torch.equal(weights(far[0.0]), weights(plain))
    assert moved[10.0] < moved[1.0] < moved[0.0]


def test_fedprox_steps_on_the_gradient_of_its_objective():
    """Two steps: w_2 = w_1 - lr (grad(w_1) + mu (w_1 - w_0))."""
    data, model = rows(8), network(dtype=torch.float64)
    train_weights(model, data, setting(steps=2, batch_size=0, lr=0.1, mu=3.0, precision="fp64"))
    hand = network(dtype=torch.float64)
    start = [p.detach().clone() for p in hand.parameters()]
    x, y = data.tensors
    for _ in range(2):
        pull = sum(((p - w) ** 2).sum() for p, w in zip(hand.parameters(), start, strict=True))
        found = torch.autograd.grad(default_loss(hand(x), y) + 1.5 * pull, list(hand.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(hand.parameters(), found, strict=True):
                parameter -= 0.1 * slope
    torch.testing.assert_close(weights(model), weights(hand), rtol=0, atol=1e-12)


def test_the_last_small_batch_is_kept_and_steps_go_round():
    counts = [batch.count for batch in batches_of(rows(10), setting(batch_size=4, epochs=1))]
    assert counts == [4, 4, 2]
    assert len(list(batches_of(rows(10), setting(batch_size=4, steps=7)))) == 7
    assert [batch.count for batch in batches_of(rows(10), setting(batch_size=0))] == [10]


def test_without_shuffle_examples_come_in_their_order():
    batch = next(batches_of(rows(10), setting(batch_size=4, shuffle=False)))
    assert torch.equal(batch.target, rows(10).tensors[1][:4])


class OneByOne(Dataset[Any]):
    """The same rows, hidden behind `__getitem__`."""

    def __init__(self, data: TensorDataset) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Any:
        return self._data[index]


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: Subset(Subset(d, range(30, 0, -1)), [3, 9, 27, 1, 4])])
def test_whole_batches_of_tensors_equal_those_collected_one_by_one(wrap):
    fast, slow = (Batches(wrap(d), Placing(CPU)) for d in (rows(40), OneByOne(rows(40))))
    for indices in (torch.tensor([0, 3, 2]), torch.tensor([4])):
        ours, theirs = fast.read(indices), slow.read(indices)
        assert torch.equal(ours.inputs, theirs.inputs)
        assert torch.equal(ours.target, theirs.target)


def test_training_stops_at_the_next_batch():
    asked = []

    def keep_going() -> bool:
        asked.append(None)
        return len(asked) < 3

    model = network()
    with pytest.raises(TrainingStopped):
        train_weights(model, rows(40), replace(setting(batch_size=4), keep_going=keep_going))
    assert len(asked) == 3


def test_a_loss_that_is_not_finite_ends_the_training():
    data = TensorDataset(torch.full((4, 6), float("inf")), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(NonFiniteLoss, match="lower"):
        train_weights(network(), data, setting())


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"optimizer": "sdg"}, "did you mean 'sgd'"),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum 0.9: optimizer adam takes none"),
        (
            {"optimizer": "adam", "options": {"beta": 0.9}},
            r"options\.beta: optimizer adam has none; did you mean 'betas'",
        ),
        ({"options": {"lr": 0.9}}, r"write it as \[train\] lr"),
        ({"optimizer": "adam", "options": {"betas": [0.9, 7.0]}}, "Invalid beta"),
    ],
)
def test_a_mistake_in_the_optimizer_is_told(train, words):
    with pytest.raises(TaskError, match=words):
        train_weights(network(), rows(8), setting(**train))


def test_optimizers_are_those_of_torch():
    assert {"sgd", "adam", "adamw", "rmsprop", "adagrad"} <= set(optimizer_names())
    assert "lbfgs" not in optimizer_names()


def test_precision_is_that_of_the_job():
    half = network()
    train_weights(half, rows(16), setting(precision="bf16"))
    assert {p.dtype for p in half.parameters()} == {torch.float32}  # bf16 in the products only
    full = network()
    train_weights(full, rows(16), setting())
    assert not torch.equal(weights(half), weights(full))
    with pytest.raises(NeedsGpu, match="fp16 needs a GPU"):
        train_weights(network(), rows(16), setting(precision="fp16"))


def test_the_gradient_is_clipped_to_the_norm():
    model = network()
    gradient(model, rows(16), setting(clip=0.01))
    assert float(gradients(model).norm()) == pytest.approx(0.01, rel=1e-3)


def test_the_default_loss_refuses_what_would_broadcast():
    with pytest.raises(TaskError, match=r"output \(4, 1\) and target \(4,\)"):
        default_loss(torch.zeros(4, 1), torch.zeros(4))


@pytest.mark.parametrize("item", [1.0, (1.0, 2.0, 3.0)])
def test_an_example_that_is_no_pair_is_told(item):
    class Odd(Dataset[Any]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Any:
            return item

    with pytest.raises(TaskError, match=r"must be a pair \(input, target\)"):
        train_weights(network(), Odd(), setting())


def test_the_validation_share_is_the_same_every_time_and_apart_from_training():
    for share, held in ((0.1, 4), (0.25, 10)):
        training, validation = split(rows(40), share, seed=3)
        again = split(rows(40), share, seed=3)[1]
        assert validation is not None
        assert again is not None
        assert validation.indices == again.indices  # type: ignore[attr-defined]
        assert len(validation.indices) == held  # type: ignore[attr-defined]
        assert sorted([*training.indices, *validation.indices]) == list(range(40))  # type: ignore[attr-defined]
    assert split(rows(40), 0.0, seed=3)[1] is None


def test_an_evaluation_counts_examples_and_not_batches():
    data, model = rows(41), network()
    whole = evaluate(model, data, setting(), batch_size=100)
    parts = evaluate(model, data, setting(), batch_size=7)
    x, y = data.tensors
    assert whole.metrics["accuracy"] == pytest.approx(float((model(x.float()).argmax(1) == y).double().mean()))
    assert parts.metrics == pytest.approx(whole.metrics, rel=1e-6)
    assert whole.examples == 41


def test_a_tasks_metrics_may_be_means_or_sums_with_their_counts():
    def metrics(outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, Any]:
        ones = targets == 1
        return {"ones": (int((outputs.argmax(1)[ones] == 1).sum()), int(ones.sum())), "mean": targets.double().mean()}

    data, model = rows(41), network()
    found = evaluate(model, data, setting(), batch_size=7, wanted=Wanted(metrics)).metrics
    whole = evaluate(model, data, setting(), batch_size=41, wanted=Wanted(metrics)).metrics
    assert found == pytest.approx(whole, rel=1e-6)
    with pytest.raises(TaskError, match="'bad' must be a number"):
        evaluate(model, data, setting(), batch_size=7, wanted=Wanted(lambda o, t: {"bad": "x"}))


def test_an_own_loop_gets_what_it_needs_and_its_metrics_count():
    def train(model: nn.Module, dataset: Dataset[Any], context: Any) -> dict[str, float]:
        optimizer = context.optimizer(model)
        for batch in context.batches(dataset):
            optimizer.zero_grad()
            default_loss(model(batch.inputs), batch.target).backward()
            optimizer.step()
        return {"lr": context.lr, "round": context.round}

    own, ours = network(), network()
    learned = train_own(train, own, rows(20), CLIENT, setting(lr=0.3))
    train_weights(ours, rows(20), setting(lr=0.3))
    assert torch.equal(weights(own), weights(ours))
    assert learned.metrics == {"lr": 0.3, "round": 1.0}
    assert learned.examples == 20
