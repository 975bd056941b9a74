"""Ours and its floor in courses that take turns: what memory and disk cost changes from minute to minute.

Courses of one rig cost MinIO 421, 542, 603, 627, 574, 466 and 400 ms of a core for a round of 10 x 10 MB, whoever ran
them. The first is one of the floor's and does not count, so that neither side has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

TURNS = 3

Course = Callable[[int], dict[str, Any]]  # runs so many rounds; their seconds, and more


def in_turns(
    ours: Course, others: list[Course], *, rounds: int, turns: int = TURNS
) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """Run each so often, one after the other; what ours found, and what each of the others did.

    The first of the others runs once before that, for nothing.

    Args:
        rounds: of each in all, as good as divided among its turns.
    """
    each = -(-rounds // turns)
    others[0](each)
    mine: list[dict[str, Any]] = []
    theirs: list[list[dict[str, Any]]] = [[] for _ in others]
    for _ in range(turns):
        mine.append(ours(each))
        for found, other in zip(theirs, others, strict=True):
            found.append(other(each))
    return mine, theirs


def seconds(found: list[dict[str, Any]], warm_up: int = 0) -> list[float]:
    """Of all courses, each without its first rounds."""
    return [second for course in found for second in course["seconds"][warm_up:]]
