"""A manifest's entries: one for each client, so they are small; and their bytes last."""

from __future__ import annotations

import tracemalloc
from dataclasses import FrozenInstanceError

import pytest

from warren.storage.documents import Entry, Manifest, read_document, write_document
from warren.storage.errors import ObjectDamaged

ENTRY_BYTES_MAX = 1000
BYTES = b"""\
  {
   "client": "c000",
   "source": "pool.default",
   "attempt": "a1",
   "digest": "%s",
   "size": 9,
   "examples": 5,
   "metrics": {
    "loss": 0.5
   },
   "facts": {
    "cpu": "AVX2"
   },
   "took": 1.25,
   "base": null,
   "terms": {
    "weight": 2.0
   },
   "state": null,
   "state_bytes": 0""" % (b"0" * 32)


def entry(client: str = "c000") -> Entry:
    return Entry(
        client=client,
        source="pool.default",
        attempt="a1",
        digest="0" * 32,
        size=9,
        examples=5,
        metrics={"loss": 0.5},
        facts={"cpu": "AVX2"},
        took=1.25,
        terms={"weight": 2.0},
    )


def manifest() -> Manifest:
    return Manifest(job="j", round=1, entries=(entry(),))


def test_an_entry_is_written_as_it_always_was() -> None:
    assert BYTES in write_document(manifest())


def test_an_entry_is_read_as_it_was_written_and_with_fields_of_a_later_version() -> None:
    written = write_document(manifest())
    assert read_document(Manifest, written, "key") == manifest()
    later = written.replace(b'"client": "c000"', b'"client": "c000", "later": [1]')
    assert read_document(Manifest, later, "key") == manifest()


def test_an_entry_out_of_bounds_is_named() -> None:
    broken = write_document(manifest()).replace(b'"size": 9', b'"size": -9')
    with pytest.raises(ObjectDamaged, match=r"key: entries\.0\.size: "):
        read_document(Manifest, broken, "key")


def test_an_entry_never_changes() -> None:
    with pytest.raises(FrozenInstanceError):
        entry().size = 10  # type: ignore[misc]


def test_an_entry_takes_little_whether_made_or_read() -> None:
    names = [f"c{number:03}" for number in range(1000)]
    written = write_document(Manifest(job="j", round=1, entries=tuple(map(entry, names))))
    for make in (lambda: tuple(map(entry, names)), lambda: read_document(Manifest, written, "key").entries):
        tracemalloc.start()
        try:
            made = make()
            assert tracemalloc.get_traced_memory()[0] < ENTRY_BYTES_MAX * len(made)
        finally:
            tracemalloc.stop()
