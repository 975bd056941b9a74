"""A job with real checkpoints, made as an aggregator makes them, without trainers or servers."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from warren.aggregator.averaging import Averaging
from warren.storage import keys
from warren.storage.digests import digest_file
from warren.storage.documents import Control, Entry, Evaluation, Manifest, write_document
from warren.storage.job import JobSpec, make_spec, write_spec
from warren.storage.objects import ObjectStore
from warren.storage.rules import rule_of
from warren.storage.torch_tensors import save
from warren.trainer.packed import save_packed
from warren.trainer.wire import Work

CLIENTS = ("c000", "c001", "c002")
TASK = b"def model(): ...\ndef data(client): ...\n"
LAYOUT = {"trainable": '["w"]', "tied": "{}"}
NOWHERE = Path("nowhere")
FACTS = {"torch": "2.9.1", "cpu": "AVX2", "threads": "1"}


def spec_of(job: str, rounds: int, **fields: Any) -> JobSpec:
    task = {"name": "lung", "file": "lung.py", "digest": hashlib.sha256(TASK).hexdigest()}
    return make_spec({"job": job, "task": task, "clients": 3, "rounds": rounds, **fields})


WORK = Work(
    kind="train",
    spec=spec_of("none", 1),
    job_round=1,
    client="c000",
    index=0,
    count=3,
    site=None,
    attempt="good",
    task_path=NOWHERE,
    base_path=None,
    output_path=NOWHERE,
)


class CommittedJob:
    """Rounds 0 to `rounds` of a job, all frozen and written; nothing was collected.

    Clients that are `absent` in a round store their update too late. Where the algorithm keeps something for its
    clients, each attempt's is its client, round and attempt in words.
    """

    def __init__(
        self,
        store: ObjectStore,
        scratch: Path,
        job: str = "lung-aaa111",
        rounds: int = 4,
        absent: Collection[tuple[int, str]] = (),
        **fields: Any,
    ):
        self.store, self.job, self._absent = store, job, absent
        self.spec = spec_of(job, rounds, **fields)
        self._scratch = scratch / job
        self._numbers = Averaging(store, self._scratch)
        store.create(keys.task(job, "lung.py"), TASK)
        store.create(keys.spec(job), write_spec(self.spec))
        for number in range(rounds + 1):
            self.freeze(number)
            self.write(number)

    def freeze(self, number: int) -> Manifest:
        """Store the round's updates, and its manifest."""
        clients = CLIENTS if number else CLIENTS[:1]
        late = [client for client in clients if (number, client) in self._absent]
        for client in late:
            self.put_update(number, client, "lost")
        entries = tuple(self.put_update(number, client, "good") for client in clients if client not in late)
        base = self._numbers.base(self.job, number - 1) if number else None
        manifest = Manifest(
            job=self.job, round=number, base=base, entries=entries, reason="all answered", versions={"warren": "0.1.0"}
        )
        self.store.create(keys.manifest(self.job, number), write_document(manifest))
        self._manifest = manifest
        return manifest

    def write(self, number: int) -> None:
        assert self._manifest.round == number
        self._numbers.write(self.spec, self._manifest)

    def put_update(self, number: int, client: str, attempt: str) -> Entry:
        """An update of this attempt; its numbers follow from round, client and attempt."""
        chance = torch.Generator().manual_seed(hash_of(f"{number}/{client}/{attempt}"))
        path = self._scratch.with_name("update")
        tensors = {"w": torch.randn(64, generator=chance)}
        if number and self.spec.compress.used:
            work = replace(WORK, spec=self.spec, job_round=number, client=client, attempt=attempt, output_path=path)
            written = save_packed(work, tensors, ("w",), LAYOUT)
        else:
            written = save(path, tensors, LAYOUT)
        source = self.spec.source_of(client)
        state = self._put_state(number, client, attempt)
        self.store.create(keys.update(self.job, number, source, client, attempt), path)
        return Entry(
            client=client,
            source=source,
            attempt=attempt,
            digest=written.digest,
            size=written.size,
            examples=10,
            metrics={"loss": 1.0 / (number + 1)},
            facts=FACTS,
            state=state,
            state_bytes=self._state.stat().st_size if state else 0,
        )

    def _put_state(self, number: int, client: str, attempt: str) -> str | None:
        if number == 0 or rule_of(self.spec).keeps == "nothing":
            return None
        self._state.write_text(f"{client} {number} {attempt}")
        self.store.create(keys.client_state(self.job, client, number, attempt), self._state)
        return digest_file(self._state)

    @property
    def _state(self) -> Path:
        return self._scratch.with_name("state")

    def evaluate(self, number: int, accuracy: float) -> None:
        found = Evaluation(job=self.job, round=number, held_out={"accuracy": accuracy}, held_out_examples=10)
        self.store.create(keys.evaluation(self.job, number), write_document(found))

    def evaluate_all(self) -> None:
        for number in range(1, self.spec.rounds + 1):
            self.evaluate(number, 0.5)

    def end(self, command: str = "done") -> None:
        control = Control.model_validate({"command": command, "reason": "the end"})
        self.store.create(keys.control(self.job, 1), write_document(control))

    def keys(self, prefix: str) -> list[str]:
        return [info.key for info in self.store.list(prefix)]


def hash_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])
