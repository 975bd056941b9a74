"""The main job over real servers: the commands a person types, several trainer processes, the bytes of embedded."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from minio import Minio
from servers.s3_server import ACCESS_KEY, SECRET_KEY
from services.fleet import Fleet
from services.tasks import EXTENDING, write_job

from warren.storage import keys

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def staffed(fleet: Fleet) -> Fleet:
    """An aggregator and two trainers of the pool."""
    members = [fleet.add("trainer", name, start=False) for name in ("left", "right")]
    fleet.start(*members, fleet.add("aggregator", "leader", start=False))
    return fleet


def test_two_trainer_processes_over_real_servers_give_the_bytes_of_an_embedded_run(
    staffed: Fleet, expected: Callable[..., list[str]], tmp_path: Path
) -> None:
    job = staffed.submit(write_job(tmp_path, **EXTENDING))
    watch = staffed.watch(job)
    staffed.finished(job, watch=watch)
    watch.check(3)
    assert watch.digests(3) == expected()
    staffed.until(lambda: staffed.store.stat(keys.derived(job, "curves.png")) is not None, "the curves")
    made = {info.key.removeprefix(keys.job_prefix(job)) for info in staffed.store.list(keys.job_prefix(job))}
    assert {"final.safetensors", "best.safetensors", "metrics.csv", "curves.png"} <= made
    labelled = {"checkpoints/round-00003": "evaluated", "final": "final", "best": "best"}
    for name, state in labelled.items():
        staffed.until(lambda name=name, state=state: _state(staffed, job, name) == state, f"{name} says {state}")


def _state(fleet: Fleet, job: str, name: str) -> str | None:
    """What the tags of a model say."""
    place = fleet.servers.s3.url.partition("://")[2]
    client = Minio(place, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False)
    found = (
        client.get_object_tags(
            bucket_name=fleet.environment["WARREN_S3_BUCKET"], object_name=f"jobs/{job}/{name}.safetensors"
        )
        or {}
    )
    assert "round" in found or not found
    return found.get("state")


def test_watch_follows_a_job_to_its_end(staffed: Fleet, tmp_path: Path) -> None:
    lines = staffed.warren("submit", str(write_job(tmp_path, rounds=1)), "--follow", "--json").splitlines()
    events = [json.loads(line) for line in lines]
    assert events[0]["event"] == "submitted"
    assert any(event["event"] == "round" and event["round"] == 1 for event in events)
    job = events[0]["job"]
    assert staffed.command(job) == "done"
    assert job in staffed.warren("watch", job, "--json")


def test_a_gradients_job_gives_the_bytes_of_an_embedded_run(
    staffed: Fleet, expected: Callable[..., list[str]], tmp_path: Path
) -> None:
    fields: dict[str, Any] = {"update": "gradients", "rounds": 2, "strategy": {"name": "fedavg"}}
    job = staffed.submit(write_job(tmp_path, **EXTENDING, **fields))
    watch = staffed.watch(job)
    staffed.finished(job, watch=watch)
    watch.check(2)
    assert watch.digests(2) == expected(**fields)


def test_each_site_trains_with_its_own_trainer_and_no_other(staffed: Fleet, tmp_path: Path) -> None:
    sites = sorted(f"site-{secrets.token_hex(3)}" for _ in range(2))
    staffed.start(*(staffed.add("trainer", f"at-{site}", "--site", site, start=False) for site in sites))
    job = staffed.submit(write_job(tmp_path, sites=sites, rounds=2))
    watch = staffed.watch(job)
    staffed.finished(job, watch=watch)
    for manifest in watch.check(2)[1:]:
        assert [entry.source for entry in manifest.entries] == [f"site.{site}" for site in sites]
