"""Metrics that are counted: what each client counts, how counts of clients add up, and what they come to. No torch.

A mean of clients' recalls is not the recall over all their examples. So clients send counts, and the metric is
computed once from their sums, as if all examples lay in one place. Lists of numbers by name:

    sum:<metric>      [sum, count]: any mean, such as the loss
    class:right       (k,) examples of each class that were taken for it; with two classes the positive one last
    class:predicted   (k,) examples taken for each class
    class:actual      (k,) examples of each class
    score:<c>:in      (BINS,) examples of class c, by the probability that they were given for it
    score:<c>:out     (BINS,) examples of other classes, by the same
    error             [n, sum |e|, sum e^2, sum y, sum y^2], e = output - target y

The names are torchmetrics', and the values agree with it: precision, recall and F of two classes are those of
the positive one, of more classes the mean over the classes that occur ("macro"); accuracy is over all examples.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

BINS = 201  # bin b holds probabilities from b/200 up to the next; torchmetrics' thresholds=201
CLASSES_MAX = 256  # of class counts
SCORED_CLASSES_MAX = 32  # of AUROC: 2 x 201 numbers each
FBETA = 2.0  # of plain "fbeta": recall counts twice
BETA_MAX = 100.0
NUMBER_MAX = 1e150  # of one number of a peer: sums and squares of so many stay finite

RIGHT, PREDICTED, ACTUAL, ERROR = "class:right", "class:predicted", "class:actual", "error"
SUM = "sum:"

Counts = Mapping[str, Sequence[float]]
Numbers = list[float]

_OF_CLASSES = ("accuracy", "precision", "recall", "specificity", "mcc", "fbeta")
_OF_ERRORS = ("mae", "mse", "rmse", "r2")
NAMES = (*_OF_CLASSES[:-1], "f1", "f2", "fbeta", "auroc", *_OF_ERRORS)
_F = re.compile(r"f(\d{1,3}(?:\.\d{1,3})?)")


def family(name: str) -> str:
    """What a metric is made of: "class", "score", "error", or "" where none has this name."""
    if name in _OF_CLASSES or beta_of(name) is not None:
        return "class"
    return "score" if name == "auroc" else "error" if name in _OF_ERRORS else ""


def no_such_metric(name: str) -> str:
    """The words for a name that none has."""
    close = difflib.get_close_matches(name, NAMES, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(NAMES)}, and f with any beta, such as f0.5"
    return f"no metric is named {name!r}; {hint}"


def beta_of(name: str) -> float | None:
    """The beta of `f1`, `f2`, `f0.5`; of `fbeta` 2. None for any other name."""
    if name == "fbeta":
        return FBETA
    found = _F.fullmatch(name)
    return float(found[1]) if found and 0 < float(found[1]) <= BETA_MAX else None


def score_keys(place: int | str) -> tuple[str, str]:
    """The names of a class's two histograms."""
    return f"score:{place}:in", f"score:{place}:out"


def add(parts: Iterable[Counts]) -> dict[str, Numbers]:
    """The sums of counts, each list element by element.

    Lists of one name that differ in length don't fit together (a client with another model): those of the
    commonest length are added, the others left out.
    """
    given = list(parts)
    total: dict[str, Numbers] = {}
    for name in sorted({name for part in given for name in part}):
        lists = [part[name] for part in given if name in part]
        lengths = Counter(map(len, lists))
        length = min(lengths, key=lambda n: (-lengths[n], n))
        rows = [numbers for numbers in lists if len(numbers) == length]
        total[name] = [math.fsum(column) for column in zip(*rows, strict=True)]
    return total


def sound(counts: Counts) -> dict[str, Numbers]:
    """Those counts of a client that can be counts: whole families, finite, none negative, no part above its whole."""
    kept = {name: list(numbers) for name, numbers in counts.items() if numbers and all(map(_bounded, numbers))}
    sums = {name: pair for name, pair in kept.items() if name.startswith(SUM) and len(pair) == 2 and pair[1] > 0}
    good: dict[str, Numbers] = dict(sums)
    if _classes_are_sound(kept):
        good |= {name: kept[name] for name in (RIGHT, PREDICTED, ACTUAL)}
    for place in _places(kept):
        pair = {key: kept[key] for key in score_keys(place)}
        if all(len(numbers) == BINS and min(numbers) >= 0 for numbers in pair.values()):
            good |= pair
    errors = kept.get(ERROR, [])
    if len(errors) == 5 and min(errors[0], errors[1], errors[2], errors[4]) >= 0:
        good[ERROR] = errors
    return good


def measure(name: str, counts: Counts) -> float | None:
    """The metric that sound counts come to; None where they don't say: no such counts, or nothing to divide by."""
    kind = family(name)
    if kind == "class" and RIGHT in counts:
        return _of_classes(name, counts[RIGHT], counts[PREDICTED], counts[ACTUAL])
    if kind == "score":
        found = [_auroc(*(counts[key] for key in score_keys(place))) for place in _places(counts)]
        return _mean([value for value in found if value is not None])
    if kind == "error" and ERROR in counts:
        return _of_errors(name, *counts[ERROR])
    return None


def auroc_error(counts: Counts) -> float:
    """The most that binning can have moved `auroc`: half of the pairs that share a bin, the worst class's.

    AUROC is the share of pairs (in, out) that are in the right order, ties half; only pairs within one bin
    can be counted wrong, each by at most a half.
    """
    worst = 0.0
    for place in _places(counts):
        inside, outside = (counts[key] for key in score_keys(place))
        pairs = sum(inside) * sum(outside)
        shared = math.fsum(a * b for a, b in zip(inside, outside, strict=True))
        worst = max(worst, shared / pairs / 2 if pairs else 0.0)
    return worst


def _bounded(number: float) -> bool:
    return abs(number) <= NUMBER_MAX  # False for NaN


def _classes_are_sound(counts: Counts) -> bool:
    lists = [counts.get(name, ()) for name in (RIGHT, PREDICTED, ACTUAL)]
    if len({len(numbers) for numbers in lists}) != 1 or not 2 <= len(lists[0]) <= CLASSES_MAX:
        return False
    return all(0 <= right <= min(predicted, actual) for right, predicted, actual in zip(*lists, strict=True))


def _places(counts: Counts) -> list[str]:
    """The classes with both histograms."""
    found = (name.split(":")[1] for name in sorted(counts) if re.fullmatch(r"score:\d{1,3}:in", name))
    return [place for place in found if score_keys(place)[1] in counts]


def _of_classes(name: str, right: Sequence[float], predicted: Sequence[float], actual: Sequence[float]) -> float | None:
    total = math.fsum(actual)
    if name == "accuracy":
        return math.fsum(right) / total if total else None
    if name == "mcc":
        return _matthews(right, predicted, actual)
    rows = list(zip(right, predicted, actual, strict=True))
    if len(rows) == 2:
        return _of_one(name, *rows[1], total)
    occurring = [row for row in rows if row[1] + row[2] > 0]
    return _mean([_of_one(name, *row, total) or 0.0 for row in occurring])


def _of_one(name: str, right: float, predicted: float, actual: float, total: float) -> float | None:
    """A metric of one class against the rest; nothing of the class predicted is a precision of 0."""
    if name == "specificity":
        return 1 - (predicted - right) / (total - actual) if total > actual else None
    if name == "recall":
        return right / actual if actual else None
    if name == "precision":
        return right / predicted if predicted else (0.0 if actual else None)
    squared = (beta_of(name) or FBETA) ** 2
    below = squared * actual + predicted  # (1 + b^2) tp + b^2 fn + fp
    return (1 + squared) * right / below if below else None


def _matthews(right: Sequence[float], predicted: Sequence[float], actual: Sequence[float]) -> float | None:
    """R_K of Gorodkin 2004, from the margins: (c s - sum p t) / sqrt((s^2 - sum p^2)(s^2 - sum t^2))."""
    s, c = math.fsum(actual), math.fsum(right)
    product = math.fsum(p * t for p, t in zip(predicted, actual, strict=True))
    spread = [s * s - math.fsum(n * n for n in side) for side in (predicted, actual)]
    return (c * s - product) / math.sqrt(spread[0] * spread[1]) if min(spread) > 0 else None


def _auroc(inside: Sequence[float], outside: Sequence[float]) -> float | None:
    """The share of pairs with the higher probability inside; a pair within one bin counts half."""
    pairs = sum(inside) * sum(outside)
    if not pairs:
        return None
    below, good = 0.0, 0.0
    for a, b in zip(inside, outside, strict=True):
        good += a * (below + b / 2)
        below += b
    return good / pairs


def _of_errors(name: str, n: float, absolute: float, squared: float, y: float, y_squared: float) -> float | None:
    if n <= 0:
        return None
    if name == "mae":
        return absolute / n
    if name == "r2":
        spread = y_squared - y * y / n
        return 1 - squared / spread if spread > 0 else None
    return squared / n if name == "mse" else math.sqrt(squared / n)


def _mean(values: Sequence[Any]) -> float | None:
    return math.fsum(values) / len(values) if values else None
