"""A checkpoint that is made beside the freeze: the same bytes, once; another's manifest and missing updates win."""

from __future__ import annotations

from pathlib import Path

import pytest
from made.committed import CommittedJob

from warren.aggregator import averaging
from warren.storage import keys
from warren.storage.documents import Manifest
from warren.storage.errors import ObjectMissing
from warren.storage.folder import FolderStore


class Job(CommittedJob):
    """Round 2 is frozen and not written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(FolderStore(folder / "store"), folder, rounds=1, strategy={"name": "fedadam"})
        self.mine = self.freeze(2)
        self.theirs = self.mine.model_copy(update={"entries": self.mine.entries[1:]})

    def prepare(self, manifest: Manifest) -> None:
        self._numbers.prepare(self.spec, manifest)

    def written(self, manifest: Manifest) -> tuple[bytes, bytes]:
        self._numbers.write(self.spec, manifest)
        return self.store.read(keys.checkpoint(self.job, 2)), self.store.read(keys.optimizer(self.job, 2))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "one")


@pytest.fixture
def plain(tmp_path: Path) -> Job:
    return Job(tmp_path / "plain")


def test_what_was_prepared_is_written_and_not_made_again(job: Job, plain: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.prepare(job.mine)
    expected = plain.written(plain.mine)
    monkeypatch.setattr(averaging, "write_checkpoint", lambda *_, **__: pytest.fail("made a second time"))
    assert job.written(job.mine) == expected


def test_where_another_froze_first_theirs_is_made(job: Job, plain: Job) -> None:
    job.prepare(job.mine)
    assert job.written(job.theirs) == plain.written(plain.theirs)


def test_nothing_is_in_the_store_before_it_is_written(job: Job) -> None:
    job.prepare(job.mine)
    assert job.store.stat(keys.checkpoint(job.job, 2)) is None
    assert job.store.stat(keys.optimizer(job.job, 2)) is None


def test_a_missing_update_is_said_by_the_write(job: Job) -> None:
    lost = job.mine.entries[0]
    job.store.delete(keys.update(job.job, 2, lost.source, lost.client, lost.attempt))
    job.prepare(job.mine)
    with pytest.raises(ObjectMissing):
        job.written(job.mine)
