"""From a reducer's name and the inner products to a recipe: what to do with the items of each piece."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...storage.job import ReducerSpec
from . import bucketing, bulyan, coordinates, krum, nnm
from .centered_clipping import centered_clipping
from .geometric_median import geometric_median
from .geometry import Matrix, Vector, squared_distances
from .norm_clipping import norm_clipping
from .options import least_updates, number, whole


@dataclass(frozen=True, slots=True)
class Linear:
    """sum_i c_i x_i of the changes; `lacking`: what the c_i lack of 1, which is the model's own part."""

    coefficients: Vector
    lacking: float = 0.0


@dataclass(frozen=True, slots=True)
class ByCoordinate:
    """A rule for each coordinate, on the rows that are `mixing` x updates; of them `places`, if not all."""

    rule: Callable[[coordinates.Rows], Vector]
    mixing: Matrix | None = None
    places: tuple[int, ...] = ()


Recipe = Linear | ByCoordinate


def choose(reducer: ReducerSpec, examples: Sequence[int], gram: Matrix | None, chance: random.Random) -> Recipe:
    """What this reducer does with these updates.

    Args:
        reducer: any but the plain average.
        examples: of each of n updates.
        gram: (n, n) inner products of their changes, where the reducer compares them.
        chance: for bucketing, seeded from job and round.
    """
    n = len(examples)
    assert n >= least_updates(reducer), f"{reducer.name} of {n} updates: the round must not have closed"
    mixing = _mixing(reducer, n, gram, chance)
    if mixing is not None and gram is not None:
        gram = mixing @ gram @ mixing.T
    if reducer.name in ("median", "trimmed-mean", "bulyan"):
        return _by_coordinate(reducer, n, gram, mixing)
    assert gram is not None
    weights = np.array(examples if reducer.weighted else [1] * len(gram), dtype=np.float64)
    coefficients = _coefficients(reducer, gram, weights / weights.sum())
    lacking = 1 - float(coefficients.sum()) if reducer.name.endswith("-clipping") else 0.0
    return Linear(coefficients if mixing is None else mixing.T @ coefficients, lacking)


def _mixing(reducer: ReducerSpec, n: int, gram: Matrix | None, chance: random.Random) -> Matrix | None:
    if reducer.before == "bucketing":
        return bucketing.mixing(n, whole(reducer, "bucket"), chance)
    if reducer.before == "nnm":
        assert gram is not None
        return nnm.mixing(squared_distances(gram), reducer.f or 0)
    return None


def _by_coordinate(reducer: ReducerSpec, n: int, gram: Matrix | None, mixing: Matrix | None) -> ByCoordinate:
    f = reducer.f or 0
    if reducer.name == "median":
        return ByCoordinate(coordinates.median, mixing)
    if reducer.name == "trimmed-mean":
        return ByCoordinate(partial(coordinates.trimmed_mean, f=f), mixing)
    assert gram is not None
    chosen = bulyan.choose(squared_distances(gram), f)
    rule = partial(coordinates.mean_near_median, count=len(chosen) - 2 * f)
    return ByCoordinate(rule, mixing, tuple(chosen))


def _coefficients(reducer: ReducerSpec, gram: Matrix, weights: Vector) -> Vector:
    name, f = reducer.name, reducer.f or 0
    if name == "krum":
        return krum.krum(squared_distances(gram), f)
    if name == "multi-krum":
        return krum.multi_krum(squared_distances(gram), f, int(number(reducer, "keep") or len(gram) - f - 2))
    if name == "geometric-median":
        smoothing = number(reducer, "smoothing")
        assert smoothing is not None
        return geometric_median(gram, weights, smoothing, whole(reducer, "iterations"))
    if name == "centered-clipping":
        return centered_clipping(gram, weights, number(reducer, "radius"), whole(reducer, "iterations"))
    return norm_clipping(gram, weights, number(reducer, "radius"))
