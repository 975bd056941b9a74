"""The arithmetic of partitioners: shares to whole numbers that add up, rows to owners, owners to parts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rows = NDArray[np.int64]
Parts = list[Rows]
Seed = int | np.random.Generator

NUMBER_MAX = 1e15  # of an option; more rows than that no data set has
_STREAM = 0x7061727469746E  # keeps partitions apart from whatever else is drawn from the same seed


def chance_of(seed: Seed) -> np.random.Generator:
    """The generator itself, or a new one for this int."""
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng([_STREAM, int(seed) % (1 << 64)])


def enough(rows: int, clients: int, least: int = 1) -> int:
    """The number of rows, if each client can have `least` of them."""
    if clients < 1:
        raise ValueError(f"{clients} clients: at least 1")
    if rows < clients * least:
        raise ValueError(f"{rows} rows are too few for {clients} clients with at least {least} each")
    return rows


def positive(name: str, value: float) -> float:
    """The value, if it is a finite number above 0."""
    if not is_number(value) or not 0 < value <= NUMBER_MAX:
        raise ValueError(f"{name} {value!r}: a number above 0")
    return float(value)


def not_negative(name: str, value: float, most: float) -> float:
    """The value, if it is a number from 0 to `most`."""
    if not is_number(value) or not 0 <= value <= most:
        raise ValueError(f"{name} {value!r}: a number from 0 to {most:g}")
    return float(value)


def whole(name: str, value: int, least: int, most: int) -> int:
    """The value, if it is a whole number from `least` to `most`."""
    if not is_number(value) or int(value) != value or not least <= value <= most:
        raise ValueError(f"{name} {value!r}: a whole number from {least} to {most}")
    return int(value)


def is_number(value: object) -> bool:
    """Whether it is a number that is one: options come from a file."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= NUMBER_MAX


def classes_of(labels: ArrayLike, clients: int) -> Rows:
    """(rows,) each row's class as its place among the sorted labels, if there is a row for each client."""
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ValueError(f"labels of shape {array.shape}: one label a row is needed")
    enough(len(array), clients)
    classes: Rows = np.unique(array, return_inverse=True)[1].astype(np.int64)
    return classes


def even(rows: int, parts: int) -> Rows:
    """(parts,) sizes that add up to the rows and differ by 1 at most."""
    sizes = np.full(parts, rows // parts, np.int64)
    sizes[: rows % parts] += 1
    return sizes


def apportion(weights: NDArray[np.float64], totals: Rows) -> Rows:
    """Whole numbers in proportion to the weights, by largest remainder; each row adds up to its total.

    Args:
        weights: (k, n), not negative, each row with something above 0.
        totals: (k,)

    Returns:
        (k, n); 0 where the weight is 0.
    """
    weights = weights / weights.max(axis=1, keepdims=True)
    ideal = weights / weights.sum(axis=1, keepdims=True) * totals[:, None]
    counts: Rows = np.floor(ideal).astype(np.int64)
    order = np.argsort(counts - ideal, axis=1, kind="stable")  # the largest remainder first
    more = np.arange(weights.shape[1]) < (totals - counts.sum(axis=1))[:, None]
    np.put_along_axis(counts, order, np.take_along_axis(counts, order, axis=1) + more, axis=1)
    return counts


def defined(weights: NDArray[np.float64], chance: np.random.Generator) -> NDArray[np.float64]:
    """The weights, with all of a row on one place where it has nothing (underflow at a tiny alpha)."""
    weights = np.nan_to_num(weights, nan=0.0, posinf=0.0)
    empty = np.flatnonzero(weights.sum(axis=1) <= 0)
    weights[empty, chance.integers(weights.shape[1], size=len(empty))] = 1.0
    return weights


def draw_without_return(mix: NDArray[np.float64], left: Rows, size: int, chance: np.random.Generator) -> Rows:
    """(k,) how many of each class make up `size` rows drawn by the mix, with `left` of each class to draw from."""
    counts = np.zeros_like(left)
    while (missing := size - int(counts.sum())) > 0:
        open_classes = counts < left
        weights = np.where(open_classes, mix, 0.0)
        if weights.sum() <= 0:  # the mix has nothing that is left
            weights = np.where(open_classes, left - counts, 0).astype(np.float64)
        drawn = chance.multinomial(missing, weights / weights.sum())
        counts = np.minimum(counts + drawn, left)
    return counts


def deal_classes(classes: Rows, counts: Rows, chance: np.random.Generator) -> Rows:
    """(rows,) each row's owner, where client c has counts[k, c] random rows of class k."""
    owners = np.empty(len(classes), np.int64)
    shuffled = chance.permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    owners[by_class] = np.repeat(np.tile(np.arange(counts.shape[1]), len(counts)), counts.ravel())
    return owners


def topped_up(owners: Rows, clients: int, least: int, chance: np.random.Generator) -> Rows:
    """The owners, with random spare rows of those that have more moved to those that have fewer than `least`."""
    sizes = np.bincount(owners, minlength=clients)
    lacking = np.maximum(least - sizes, 0)
    shuffled = chance.permutation(len(owners))
    by_owner = shuffled[np.argsort(owners[shuffled], kind="stable")]
    place = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of a row at its owner
    owners = owners.copy()
    moved = chance.choice(by_owner[place >= least], int(lacking.sum()), replace=False)
    owners[moved] = np.repeat(np.arange(clients), lacking)
    return owners


def by_owner(owners: Rows, clients: int) -> Parts:
    """The rows of each client, ascending."""
    order = np.argsort(owners, kind="stable").astype(np.int64)
    return np.split(order, np.cumsum(np.bincount(owners, minlength=clients))[:-1])


def deal_out(sizes: Rows, order: Rows) -> Parts:
    """The first rows of the order to the first client, and so on; each part ascending."""
    owners = np.empty(len(order), np.int64)
    owners[order] = np.repeat(np.arange(len(sizes)), sizes)
    return by_owner(owners, len(sizes))


def with_others(part: Rows, rows: int, number: int, chance: np.random.Generator) -> Rows:
    """The part and so many random rows that are not in it, as far as there are any; ascending."""
    others = rows - len(part)
    places = chance.choice(others, min(number, others), replace=False)  # among the rows that are not in it
    extra = places + np.searchsorted(part - np.arange(len(part)), places, side="right")
    return np.sort(np.concatenate([part, extra]))
