"""The main job over real servers: the commands a person types, two trainer processes, the same bytes as embedded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from services.fleet import Fleet
from services.tasks import EXTENDING, write_job

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def staffed(fleet: Fleet) -> Fleet:
    """An aggregator and two trainers."""
    fleet.start(
        *(fleet.add("trainer", name, start=False) for name in ("left", "right")),
        fleet.add("aggregator", "leader", start=False),
    )
    return fleet


def test_two_trainer_processes_over_real_servers_give_the_bytes_of_an_embedded_run(
    staffed: Fleet, expected: Callable[..., list[str]], tmp_path: Path
) -> None:
    job = staffed.submit(write_job(tmp_path, **EXTENDING))
    watch = staffed.watch(job)
    staffed.finished(job, watch=watch)
    watch.check(3)
    assert watch.digests(3) == expected()
