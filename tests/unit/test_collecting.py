"""What commits outdate is found in few listings, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made.committed import spec_of

from warren.aggregator.collecting import outdated
from warren.storage import keys
from warren.storage.folder import FolderStore
from warren.storage.objects import ObjectInfo


class Listed(FolderStore):
    """Counts what is listed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.listings = 0
        self.given = 0

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        self.listings += 1
        for info in super().list(prefix, after=after):
            self.given += 1
            yield info


def update(number: int, client: int) -> str:
    return keys.update("j", number, "pool.default", f"c{client:03}", "a")


@pytest.fixture
def store(tmp_path: Path) -> Listed:
    store = Listed(tmp_path)
    for number in range(1, 41):
        for client in range(2):
            store.create(update(number, client), b"x")
    return store


def gone(store: Listed, *rounds: int, **fields: Any) -> set[str]:
    return set(outdated(store, spec_of("j", 40, clients=2, keep_checkpoints="all", **fields), *rounds))


@pytest.mark.parametrize("rounds", [range(1, 2), range(12, 25), range(20, 21), [9, 30], []])
def test_updates_of_the_rounds_that_are_not_kept_go_in_one_listing(store: Listed, rounds: list[int]) -> None:
    found = gone(store, *rounds, keep_updates=3)
    assert found == {update(number - 3, client) for number in rounds if number > 3 for client in range(2)}
    assert store.listings <= 1


def test_what_comes_after_is_not_even_listed(store: Listed) -> None:
    gone(store, 6, 7, keep_updates=1)
    assert store.given == 2 * 2 + 1


def test_a_folder_of_another_name_stays(store: Listed) -> None:
    odd = "updates/j/00005x/pool.default/c000.a.safetensors"
    store.create(odd, b"x")
    assert odd not in gone(store, 6, 7, keep_updates=1)
