"""What robust reducers promise: who is chosen, how far an attacker gets, and the same bytes however the work is cut."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from warren.aggregator import combining
from warren.aggregator.combining import Robust, Updates
from warren.aggregator.layout import read_layout
from warren.aggregator.pieces import FileSource, Piece, whole
from warren.aggregator.plan import first_plan, rules
from warren.aggregator.reducers import coordinates
from warren.aggregator.reducers.choosing import choose
from warren.aggregator.reducers.geometric_median import geometric_median
from warren.aggregator.reducers.krum import krum
from warren.aggregator.reducers.options import REDUCERS, least_updates
from warren.aggregator.reducers.sorting import network, sort_rows
from warren.aggregator.strategies import check
from warren.storage.documents import Base
from warren.storage.errors import SpecInvalid
from warren.storage.job import JobSpec, ReducerSpec, make_spec
from warren.storage.tensors import read_header
from warren.storage.torch_tensors import save


def spec(clients: int = 20, schedule: dict[str, Any] | None = None, **reducer: Any) -> JobSpec:
    task = {"name": "t", "file": "t.py", "digest": "0" * 64}
    fields = {"job": "j", "task": task, "clients": clients, "reducer": reducer, "schedule": schedule or {}}
    return make_spec(fields)


def distances(x: np.ndarray) -> np.ndarray:
    return ((x[:, None] - x[None]) ** 2).sum(2)


@given(f=st.integers(0, 4), extra=st.integers(3, 8), seed=st.integers(0, 2**32 - 1), together=st.booleans())
@settings(deadline=None, max_examples=300)
def test_krum_picks_an_honest_one_when_attackers_are_far_enough(f: int, extra: int, seed: int, together: bool) -> None:
    n, chance = 2 * f + extra, np.random.default_rng(seed)
    honest = chance.normal(size=(n - f, 3))
    diameter = np.sqrt(distances(honest).max())
    reach = np.sqrt((n - f - 2) / (n - 2 * f - 1)) * diameter
    directions = chance.normal(size=(f, 3))
    directions = directions[:1].repeat(f, axis=0) if together and f else directions
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # from any honest one at least `reach`: from one of them that and the diameter, and a little more
    attackers = honest[0] + directions * (reach + diameter) * 1.001
    x = np.concatenate([attackers, honest])
    assert np.sqrt(distances(x)[:f, f:].min(initial=np.inf)) > reach
    assert int(krum(distances(x), f).argmax()) >= f


@given(n=st.integers(1, 12), seed=st.integers(0, 2**32 - 1), far=st.floats(-1e30, 1e30))
@settings(deadline=None, max_examples=300)
def test_the_median_stays_within_what_the_honest_said(n: int, seed: int, far: float) -> None:
    f, chance = (n - 1) // 2, np.random.default_rng(seed)
    x = chance.normal(size=(n, 5))
    x[:f] = far * chance.normal(size=(f, 5))
    honest = x[f:].copy()
    order = chance.permutation(n)
    found = coordinates.median([x[place].copy() for place in order])
    assert (honest.min(0) <= found).all()
    assert (found <= honest.max(0)).all()


@given(f=st.integers(1, 4), extra=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=100)
def test_the_trimmed_mean_stays_within_what_the_honest_said(f: int, extra: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    x = chance.normal(size=(2 * f + extra, 4))
    x[:f] *= 1e12
    found = coordinates.trimmed_mean([row.copy() for row in x], f)
    assert (x[f:].min(0) <= found).all()
    assert (found <= x[f:].max(0)).all()


@pytest.mark.parametrize("n", [*range(1, 20), 33, 64, 100])
def test_the_network_sorts(n: int) -> None:
    """By the 0-1 principle a network that sorts every 0-1 input sorts all: all of them for few rows, else many."""
    chance = np.random.default_rng(n)
    inputs = (
        (np.arange(2**n)[None, :] >> np.arange(n)[:, None]) & 1 if n <= 12 else chance.integers(0, 2, size=(n, 5000))
    )
    rows = [row.copy() for row in inputs]
    sort_rows(rows, set(range(n)))
    assert (np.stack(rows) == np.sort(inputs, axis=0)).all()
    middle = {(n - 1) // 2, n // 2}
    rows = [row.copy() for row in inputs]
    sort_rows(rows, middle)
    for place in middle:
        assert (rows[place] == np.sort(inputs, axis=0)[place]).all()
    assert len(network(n, frozenset(middle))) <= len(network(n, frozenset(range(n))))


@given(n=st.integers(3, 9), count=st.integers(1, 9), seed=st.integers(0, 2**32 - 1), rough=st.booleans())
@settings(deadline=None, max_examples=200)
def test_the_values_nearest_to_the_median_are_nearest(n: int, count: int, seed: int, rough: bool) -> None:
    chance = np.random.default_rng(seed)
    x = chance.integers(-2, 3, size=(n, 6)).astype(float) if rough else chance.normal(size=(n, 6))
    count = min(count, n)
    found = coordinates.mean_near_median([row.copy() for row in x], count)
    for column, mine in zip(x.T, found, strict=True):
        middle = np.median(column)
        nearest = sorted(sorted(column), key=lambda value: abs(value - middle))[:count]
        assert mine == pytest.approx(np.mean(nearest), abs=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_geometric_median_is_at_the_numerical_optimum(weighted: bool) -> None:
    """Gradient descent on the objective itself, in float64, ends at the same point."""
    chance = np.random.default_rng(8)
    x = chance.normal(size=(9, 4))
    x[:3] += 100
    alpha = np.arange(1, 10) / 45 if weighted else np.full(9, 1 / 9)
    z = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS(
        [z], max_iter=500, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        search.zero_grad()
        value = (torch.from_numpy(alpha) * (torch.from_numpy(x) - z).norm(dim=1)).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(loss)  # type: ignore[no-untyped-call]
    found = geometric_median(x @ x.T, alpha, 1e-6, 10_000) @ x
    np.testing.assert_allclose(found, z.detach().numpy(), atol=1e-5)


def test_an_enormous_attacker_does_not_drown_the_distances_of_the_others() -> None:
    chance = np.random.default_rng(1)
    x = chance.normal(size=(9, 50))
    x[4] *= 2.0**100
    for name in ("krum", "multi-krum", "geometric-median", "bulyan"):
        clients = 9 if name != "bulyan" else 7
        reducer = ReducerSpec(name=name, f=1)
        y = x[:clients]
        recipe = choose(reducer, [1] * clients, y @ y.T, random.Random(0))
        if name == "bulyan":
            assert 4 not in recipe.places  # type: ignore[union-attr]
        else:
            result = recipe.coefficients @ y  # type: ignore[union-attr]
            assert np.linalg.norm(result) < 10


# Real files


SIZES = {"big": 3 * combining.BLOCK_ITEMS_MIN + 77, "small": 5, "one": 1}


def updates(folder: Path, clients: int = 11, dtype: torch.dtype = torch.float32) -> Updates:
    chance = torch.Generator().manual_seed(5)
    said = {"trainable": json.dumps(["big", "one", "small"]), "tied": "{}"}
    sources = []
    for client in range(-1, clients):
        tensors = {name: torch.randn(size, generator=chance).to(dtype) for name, size in SIZES.items()}
        tensors |= {"mean": torch.randn(3, generator=chance), "empty": torch.empty(0, 2)}
        tensors |= {"count": torch.tensor(7 - client), "mask": torch.tensor([client % 2 == 0, False])}
        save(folder / f"c{client}", tensors, said)
        sources.append(FileSource(folder / f"c{client}"))
    layout = read_layout(read_header(folder / "c0"), checkpoint=False)
    return Updates(sources[1:], [3 + 2 * n for n in range(clients)], sources[0], layout, absolute=True)


EVERY = [name for name in REDUCERS if name != "average"]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("before", [None, "nnm", "bucketing"])
def test_neither_ranges_nor_threads_are_part_of_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, before: str | None
) -> None:
    monkeypatch.setattr(combining, "BLOCK_BYTES", 8 * 11 * combining.BLOCK_ITEMS_MIN)
    here = updates(tmp_path)
    assert here.block_items == combining.BLOCK_ITEMS_MIN
    job = spec(11, name=name, f=1 if before == "bucketing" and name != "bulyan" else 0, before=before)
    at_once = Robust(job, 3, here).all()
    monkeypatch.setattr(combining, "cores", lambda: 1)
    robust = Robust(job, 3, here)
    for tensor, spec_ in here.layout.tensors.items():
        parts = [robust.piece(part) for part in whole(spec_).cut(combining.BLOCK_ITEMS_MIN)]
        again = torch.cat(parts) if parts else robust.piece(whole(spec_))
        assert again.dtype == at_once[tensor].dtype
        assert torch.equal(again.view(at_once[tensor].shape), at_once[tensor]), tensor


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_krum_gives_the_very_update_that_it_picks(tmp_path: Path, dtype: torch.dtype) -> None:
    here = updates(tmp_path, dtype=dtype)
    robust = Robust(spec(11, name="krum", f=2), 1, here)
    picked = int(robust.recipe.coefficients.argmax())  # type: ignore[union-attr]
    found = robust.all()
    sent = here.sources[picked]
    for name, size in SIZES.items():
        assert torch.equal(found[name].to(dtype), torch.frombuffer(
            sent.data(sent.header.tensors[name].start, size * dtype.itemsize), dtype=dtype))  # fmt: skip


def test_what_is_not_trained_is_the_median_whatever_the_reducer(tmp_path: Path) -> None:
    here = updates(tmp_path)
    means = np.stack([np.frombuffer(s.data(s.header.tensors["mean"].start, 12), np.float32) for s in here.sources])
    for name in EVERY:
        found = Robust(spec(11, name=name, f=2), 1, here).all()
        np.testing.assert_allclose(found["mean"].numpy(), np.median(means, axis=0))
        assert found["count"].item() == 2  # the lower median of 7 .. -3
        assert found["mask"].tolist() == [True, False]
        assert found["empty"].shape == (0, 2)


def test_a_piece_is_cut_without_gaps() -> None:
    assert list(Piece("w", 2, 9).cut(3)) == [Piece("w", 2, 5), Piece("w", 5, 8), Piece("w", 8, 9)]
    assert list(Piece("w", 4, 4).cut(3)) == []


# At submit, and at the close


LEAST = {
    "krum": ({"f": 3}, 9),
    "multi-krum": ({"f": 3}, 9),
    "multi-krum of 9": ({"f": 3, "options": {"keep": 9}}, 14),
    "bulyan": ({"f": 3}, 15),
    "trimmed-mean": ({"f": 3}, 7),
    "median": ({}, 1),
    "median with f": ({"f": 3}, 7),
    "krum after bucketing": ({"f": 3, "before": "bucketing", "options": {"bucket": 2}}, 17),
    "average": ({}, 1),
}


@pytest.mark.parametrize("case", LEAST)
def test_a_round_below_the_bound_is_below_its_quorum(case: str) -> None:
    options, least = LEAST[case]
    job = spec(20, name=case.split()[0], **options)
    check(job)
    assert least_updates(job.reducer) == least
    base = Base(key="k", digest="0" * 64, size=1)
    plan = first_plan(job.model_copy(update={"quorum": 2}), 1, base)
    assert rules(job, plan).quorum == max(2, least)
    assert first_plan(job, 0, None).quorum == 1


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "name": ({"name": "krumm"}, "no reducer 'krumm'. Did you mean 'krum'?"),
    "no f": ({"name": "krum"}, "reducer.f: krum needs the number"),
    "no f for nnm": ({"name": "median", "before": "nnm"}, "reducer.f: nnm needs"),
    "too many": ({"name": "bulyan", "f": 5}, "needs at least 23 updates for f = 5, and a round wants 20"),
    "option": ({"name": "krum", "f": 1, "options": {"radius": 1.0}}, "reducer.radius: krum has no such option"),
    "bucket without": ({"name": "median", "options": {"bucket": 3}}, "reducer.bucket: median has no such option"),
    "half a bucket": ({"name": "median", "before": "bucketing", "options": {"bucket": 2.5}}, "a whole number"),
    "bound": ({"name": "norm-clipping", "options": {"radius": 0}}, "must be a number above 0"),
    "weighted krum": ({"name": "krum", "f": 1, "weighted": True}, "reducer.weighted: krum counts all updates alike"),
    "average": ({"name": "average", "f": 1}, "reducer.f: means nothing to the plain average"),
    "stale": ({"name": "median", "schedule": {"kind": "fedbuff"}}, "started from one model, and in fedbuff"),
    "crowd": ({"name": "krum", "f": 1, "clients": 5000}, "all pairs of at most 4096"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_in_a_reducer_is_answered_with_its_mend(what: str) -> None:
    fields, words = WRONG[what]
    with pytest.raises(SpecInvalid) as raised:
        check(spec(**fields))
    assert words in str(raised.value)
