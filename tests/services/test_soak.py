"""A short part of the soak that `make chaos` runs whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from services.fleet import Fleet
from services.soak import JOB, Soak

pytestmark = pytest.mark.services
KILLS = 6
SEED = 4


@pytest.mark.timeout(600)  # under a minute on two free cores; every start of a service imports torch
def test_a_few_kills_at_random_moments_lose_nothing_and_count_nothing_twice(
    fleet: Fleet, expected: Callable[..., list[str]], tmp_path: Path
) -> None:
    soak = Soak(fleet, tmp_path, SEED, expected(**JOB))
    soak.run(KILLS)
    assert len(soak.kills) == KILLS
