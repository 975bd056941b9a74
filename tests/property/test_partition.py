"""What every partitioner promises: nothing lost, nothing doubled unless declared, same seed same parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warren.trainer import dealing, partition
from warren.trainer.partition import Parts

SEEDS = st.integers(0, 2**63 - 1)
Case = tuple[np.ndarray[Any, Any], int, int]  # labels, clients, seed


@st.composite
def cases(draw: st.DrawFn, rows_each: int = 1) -> Case:
    """Labels of a data set (unbalanced, in any order), clients for whom there are rows enough, a seed."""
    clients = draw(st.integers(1, 12))
    rows = draw(st.integers(clients * rows_each, clients * rows_each + 200))
    classes = draw(st.integers(1, 8))
    chance = np.random.default_rng(draw(SEEDS))
    labels = (classes * chance.random(rows) ** draw(st.sampled_from([1.0, 3.0]))).astype(np.int64)
    return labels, clients, draw(SEEDS)


@dataclass(frozen=True)
class Unlike:
    """A way to partition that holds each row once, with options over their whole range."""

    name: str
    options: Callable[[st.DrawFn, int, int], dict[str, Any]]


ALPHAS = st.floats(1e-6, 1e6)
UNLIKE = [
    Unlike("iid", lambda draw, rows, clients: {}),
    Unlike("dirichlet", lambda draw, rows, clients: {"alpha": draw(ALPHAS)}),
    Unlike("dirichlet-per-client", lambda draw, rows, clients: {"alpha": draw(ALPHAS)}),
    Unlike("shards", lambda draw, rows, clients: {"per_client": draw(st.integers(1, rows // clients))}),
    Unlike(
        "quantity-skew",
        lambda draw, rows, clients: {
            "law": draw(st.sampled_from(["power", "lognormal"])),
            "spread": draw(st.floats(0, 100)),
        },
    ),
    Unlike("gaussian", lambda draw, rows, clients: {"deviation": draw(st.floats(0, 1e6))}),
    Unlike(
        "by-capacity",
        lambda draw, rows, clients: {
            "capacities": draw(st.lists(st.floats(1e-9, 1e9), min_size=clients, max_size=clients))
        },
    ),
]


def _once(parts: Parts, rows: int) -> None:
    together = np.concatenate(parts)
    assert np.array_equal(np.sort(together), np.arange(rows))
    for part in parts:
        assert part.dtype == np.int64
        assert np.all(np.diff(part) > 0)


@pytest.mark.parametrize("unlike", UNLIKE, ids=lambda unlike: unlike.name)
@given(case=cases(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost_nothing_is_doubled_and_nobody_is_left_without(
    unlike: Unlike, case: Case, data: st.DataObject
) -> None:
    labels, clients, seed = case
    options = unlike.options(lambda strategy: data.draw(strategy), len(labels), clients)
    parts = partition.by_name(unlike.name, labels, clients, seed, **options)
    assert len(parts) == clients
    assert min(len(part) for part in parts) >= 1
    _once(parts, len(labels))
    again = partition.by_name(unlike.name, labels, clients, seed, **options)
    assert all(np.array_equal(*pair) for pair in zip(parts, again, strict=True))


@given(case=cases(rows_each=8), classes=st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_classes_per_client_holds_each_row_once_and_no_more_classes_than_asked(case: Case, classes: int) -> None:
    labels, clients, seed = case
    number = len(np.unique(labels))
    if classes > number or clients * classes < number:
        with pytest.raises(ValueError, match=r"classes"):
            partition.classes_per_client(labels, clients, seed, classes=classes)
        return
    parts = partition.classes_per_client(labels, clients, seed, classes=classes)
    _once(parts, len(labels))
    assert max(len(np.unique(labels[part])) for part in parts) <= classes


@given(case=cases(rows_each=3), alpha=ALPHAS, least=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_dirichlet_keeps_its_minimum_however_small_alpha_is(case: Case, alpha: float, least: int) -> None:
    labels, clients, seed = case
    parts = partition.dirichlet(labels, clients, seed, alpha=alpha, min_size=least)
    assert min(len(part) for part in parts) >= least
    _once(parts, len(labels))


@given(case=cases())
@settings(max_examples=40, deadline=None)
def test_iid_and_dirichlet_per_client_are_of_even_size(case: Case) -> None:
    labels, clients, seed = case
    for parts in (partition.iid(len(labels), clients, seed), partition.dirichlet_per_client(labels, clients, seed)):
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1


@given(case=cases(), overlap=st.floats(0, 0.3), weights=st.data())
@settings(max_examples=60, deadline=None)
def test_an_overlap_covers_all_rows_and_doubles_no_more_than_declared(
    case: Case, overlap: float, weights: st.DataObject
) -> None:
    labels, clients, seed = case
    capacities = weights.draw(st.lists(st.floats(0.1, 10), min_size=clients, max_size=clients))
    rows = len(labels)
    parts = partition.by_capacity(rows, clients, seed, capacities=capacities, overlap=overlap)
    assert np.array_equal(np.unique(np.concatenate(parts)), np.arange(rows))
    assert all(np.all(np.diff(part) > 0) for part in parts)
    assert rows <= sum(map(len, parts)) <= rows * (1 + overlap)
    bare = partition.by_capacity(rows, clients, seed, capacities=capacities)
    _once(bare, rows)
    for size, capacity in zip(map(len, bare), capacities, strict=True):
        assert abs(size - 1 - capacity / sum(capacities) * (rows - clients)) <= 1


@given(case=cases(), clients=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_natural_keeps_groups_whole(case: Case, clients: int) -> None:
    labels = case[0].astype(str)
    groups = np.unique(labels)
    for parts in [partition.natural(labels)] + ([partition.natural(labels, clients)] if clients <= len(groups) else []):
        _once(parts, len(labels))
        assert min(map(len, parts)) >= 1
        assert sum(len(np.unique(labels[part])) for part in parts) == len(groups)


@given(
    weights=st.lists(st.one_of(st.just(0.0), st.floats(1e-12, 1e12)), min_size=1, max_size=20),
    total=st.integers(0, 10_000),
)
@settings(max_examples=200, deadline=None)
def test_whole_numbers_add_up_and_nothing_comes_of_nothing(weights: list[float], total: int) -> None:
    array = np.array([weights]) if sum(weights) > 0 else np.ones((1, len(weights)))
    (counts,) = dealing.apportion(array, np.array([total]))
    assert counts.sum() == total
    assert counts.min() >= 0
    assert not counts[array[0] == 0].any()
    assert np.all(np.abs(counts - array[0] / array.sum() * total) <= 1 + 1e-6)


def test_another_seed_gives_another_partition() -> None:
    one, two = (np.concatenate(partition.iid(100, 5, seed)) for seed in (1, 2))
    assert not np.array_equal(one, two)


def test_a_generator_goes_on_where_it_stands() -> None:
    chance = np.random.default_rng(0)
    one, two = (np.concatenate(partition.iid(100, 5, chance)) for _ in range(2))
    assert not np.array_equal(one, two)


def test_mcmahans_shards_are_two_of_three_hundred_for_each_of_a_hundred_clients() -> None:
    labels = np.repeat(np.arange(10), 6000)
    parts = partition.shards(np.random.default_rng(0).permutation(labels), 100, 7)
    assert {len(part) for part in parts} == {600}
    assert max(len(np.unique(labels[part])) for part in partition.shards(labels, 100, 7)) == 2


def test_a_small_alpha_is_more_unequal_than_a_large_one() -> None:
    labels = np.repeat(np.arange(10), 500)

    def classes_held(parts: Parts) -> float:
        shares = [np.bincount(labels[part], minlength=10) / len(part) for part in parts]
        return float(np.mean([1 / np.square(share).sum() for share in shares]))  # effective number of classes

    for partitioner in (partition.dirichlet, partition.dirichlet_per_client):
        few, many = (classes_held(partitioner(labels, 20, 3, alpha=alpha)) for alpha in (0.1, 100.0))
        assert few < 4 < 8 < many


def test_sizes_follow_the_power_law() -> None:
    sizes = sorted(map(len, partition.quantity_skew(7381, 10, 3, spread=1.0, min_size=0)), reverse=True)
    harmonic = sum(1 / k for k in range(1, 11))
    assert sizes == pytest.approx([7381 / harmonic / k for k in range(1, 11)], abs=1)


def test_gaussian_without_deviation_is_balanced_and_with_much_is_not() -> None:
    labels = np.repeat(np.arange(10), 600)
    even = partition.gaussian(labels, 4, 3, deviation=0.0)
    assert {tuple(np.bincount(labels[part])) for part in even} == {(150,) * 10}
    spread = partition.gaussian(labels, 4, 3, deviation=10_000.0)
    counts = np.array([np.bincount(labels[part], minlength=10) for part in spread])
    assert (counts == 0).any()
    assert counts.max() >= 300


@dataclass
class _Client:
    index: int
    count: int


def test_a_client_gets_its_share_of_a_partition_made_for_all() -> None:
    parts = partition.iid(10, 5, 0)
    assert np.array_equal(partition.share(parts, _Client(3, 5)), parts[3])
    with pytest.raises(ValueError, match="5 parts, and the job has 6 clients"):
        partition.share(parts, _Client(3, 6))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("dirichle", {}, "Did you mean 'dirichlet'"),
        ("dirichlet", {"alhpa": 1.0}, "unexpected keyword argument 'alhpa'"),
        ("dirichlet", {"alpha": 0}, "alpha 0: a number above 0"),
        ("dirichlet", {"alpha": "0.5"}, "alpha '0.5': a number above 0"),
        ("dirichlet", {"alpha": float("nan")}, "alpha nan"),
        ("dirichlet", {"min_size": 21}, "100 rows are too few for 5 clients with at least 21 each"),
        ("dirichlet", {"min_size": 1.5}, "min_size 1.5: a whole number from 0 to 100"),
        ("shards", {"per_client": 0}, "per_client 0: a whole number from 1 to 100"),
        ("classes-per-client", {"classes": 11}, "classes 11: a whole number from 1 to 10"),
        ("classes-per-client", {"classes": 1}, "5 clients x 1 classes do not cover the 10 classes"),
        ("quantity-skew", {"law": "zipf"}, 'neither "power" nor "lognormal"'),
        ("quantity-skew", {"spread": -1}, "spread -1: a number from 0 to 100"),
        ("gaussian", {}, "missing a required argument: 'deviation'"),
        ("by-capacity", {"capacities": [1, 2]}, "2 capacities for 5 clients"),
        ("by-capacity", {"capacities": [1] * 5, "overlap": 0.5}, "overlap 0.5: a number from 0 to 0.3"),
    ],
)
def test_what_cannot_be_is_named_with_its_bound(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        partition.by_name(name, np.arange(100) % 10, 5, 0, **options)


@pytest.mark.parametrize("name", partition.NAMES)
def test_more_clients_than_rows_is_refused(name: str) -> None:
    options: dict[str, Any] = {"capacities": [1.0] * 4} if name == "by-capacity" else {}
    options |= {"deviation": 1.0} if name == "gaussian" else {}
    with pytest.raises(ValueError, match="3 rows are too few for 4 clients"):
        partition.by_name(name, np.arange(3), 4, 0, **options)


def test_labels_need_one_dimension_and_may_be_words() -> None:
    with pytest.raises(ValueError, match=r"labels of shape \(3, 2\)"):
        partition.shards(np.zeros((3, 2)), 1, 0)
    parts = partition.shards(["b", "a", "b", "a"], 2, 0, per_client=1)
    assert sorted(tuple(part) for part in parts) == [(0, 2), (1, 3)]
