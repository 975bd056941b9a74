"""A balanced job on one machine: who is late gets less to do, and the plans say so."""

from __future__ import annotations

from pathlib import Path

from services.tasks import write_job
from services.undisturbed import run_embedded
from services.watch import Watch

from warren.storage import keys
from warren.storage.documents import Plan, read_document
from warren.storage.folder import FolderStore


def test_late_clients_are_given_less_and_less_work(tmp_path: Path) -> None:
    nobody_in_time = {"kind": "aimd", "target": 1e-6, "least": 0.25}
    job_file = write_job(tmp_path, balance=nobody_in_time, train={"epochs": 40})
    result = run_embedded(job_file, tmp_path / "runs", "--trainers", "1")
    store, job = FolderStore(tmp_path / "runs"), result["job"]
    manifests = Watch(store, job).check(3)
    plans = [read_document(Plan, store.read(keys.plan(job, number, 0)), "plan") for number in (1, 2, 3)]
    clients = plans[0].clients
    assert [plan.shares for plan in plans] == [{}, dict.fromkeys(clients, 0.5), dict.fromkeys(clients, 0.25)]
    assert all(entry.took is not None and entry.took > 0 for manifest in manifests[1:] for entry in manifest.entries)
    trained = [sum(float(entry.facts["seconds"]) for entry in manifest.entries) for manifest in manifests[1:]]
    assert trained[2] < trained[0], "a quarter of the work took as long as all of it"
    assert store.read(keys.derived(job, "round-trips.png")).startswith(b"\x89PNG")
