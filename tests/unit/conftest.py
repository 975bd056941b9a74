"""A training process for the tests of a file, and a task with its initial model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from training.outcomes import go_on
from training.works import Place, place

from warren.trainer.process import Trained, TrainingProcess


@pytest.fixture(scope="module")
def training() -> Iterator[TrainingProcess]:
    process = TrainingProcess("cpu", None)
    yield process
    process.close()


@pytest.fixture
def here(tmp_path: Path, training: TrainingProcess) -> Place:
    """A task with dropout, and its initial model."""
    made = place(tmp_path)
    assert isinstance(training.run(made.work("init"), go_on), Trained)
    return made
