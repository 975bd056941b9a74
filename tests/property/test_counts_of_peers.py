"""Counts are a peer's word: whatever they say, they are read, and what honest clients told stays as it was."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from warren.aggregator.answers import Answer, merged_metrics
from warren.storage import counting

CLASSES = ["class:right", "class:predicted", "class:actual"]
SCORES = ["score:1:in", "score:1:out", "score:0:in", "score:999:in", "score:x:in"]
names = st.sampled_from([*CLASSES, *SCORES, "sum:loss", "sum:f1", "sum:", "error", "other"])
numbers = st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.integers(0, 9)
lists = st.lists(numbers, max_size=6) | st.lists(st.integers(0, 9), min_size=counting.BINS, max_size=counting.BINS)
counts = st.dictionaries(names, lists, max_size=8)
metrics = st.dictionaries(st.sampled_from(["loss", "f1", "auroc", "x"]), st.floats(-1e6, 1e6), max_size=4)
answers = st.builds(
    Answer, st.integers(0, 1 << 53), metrics, counts, st.lists(st.sampled_from([*counting.NAMES, "x", ""]), max_size=4)
)


@given(st.lists(answers, max_size=5))
def test_any_answers_come_to_finite_numbers_or_none(given_answers: list[Any]) -> None:
    found = merged_metrics(given_answers)
    assert all(math.isfinite(value) for value in found.values())
    assert list(found) == sorted(found)


@given(counts)
def test_what_is_sound_stays_sound_and_measures_lie_in_their_range(said: dict[str, list[float]]) -> None:
    kept = counting.sound(said)
    assert counting.sound(kept) == kept
    for name in ("accuracy", "precision", "recall", "specificity", "f1", "f0.5", "auroc"):
        value = counting.measure(name, kept)
        assert value is None or 0 <= value <= 1


@given(st.lists(st.integers(0, 20), min_size=4, max_size=4), st.integers(1, 5))
def test_how_rows_lie_with_clients_does_not_matter(cells: list[int], clients: int) -> None:
    """A table of right and wrong, of two classes, dealt out row by row."""
    rows = [place for place, number in enumerate(cells) for _ in range(number)]
    parts = [_counts(rows[index::clients]) for index in range(clients)]
    assert counting.add(parts) == counting.add([_counts(rows)])


def _counts(rows: list[int]) -> dict[str, list[float]]:
    """Rows as 2 x actual + predicted."""
    table = [float(rows.count(place)) for place in range(4)]
    return {
        counting.RIGHT: [table[0], table[3]],
        counting.PREDICTED: [table[0] + table[2], table[1] + table[3]],
        counting.ACTUAL: [table[0] + table[1], table[2] + table[3]],
    }
