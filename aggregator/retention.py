"""What of a job is no longer needed: which objects may go, and why; and how a whole job goes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from ..storage import keys
from ..storage.job import JobSpec, keep_rule
from ..storage.objects import ObjectInfo, ObjectStore
from ..storage.rules import kept_at_site, rule_of
from .flow.retention import flow_waste, needed
from .judging import OPEN_MAX, is_evaluated, waiting
from .record import ENDS, Record

LATEST = 2  # checkpoints that always stay: the next round and evaluations start from them

_ROUND = re.compile(r"\d{5}\Z")
_CHECKPOINT = re.compile(r"round-(\d{5})(?:\.optimizer)?\.safetensors\Z")


@dataclass(frozen=True, slots=True)
class Waste:
    """An object that may go."""

    key: str
    size: int
    reason: str


def waste(store: ObjectStore, spec: JobSpec) -> Iterator[Waste]:
    """Everything of a job that may go. Nothing of a round that is not committed is ever among it."""
    committed = Committed(store, spec.job)
    if committed.last is None:
        return
    judged: frozenset[int] = frozenset() if committed.ended else waiting(store, spec, committed.last)
    bases = judged
    if spec.schedule.asynchronous:
        keep = needed(store, spec, committed.last)
        bases |= keep.bases
        yield from (Waste(info.key, info.size, why) for info, why in flow_waste(store, spec, keep))
    else:
        yield from _updates(store, spec, committed)
    yield from _checkpoints(store, spec, committed.last, bases)
    yield from _client_states(store, spec, committed, judged)


def orphans(store: ObjectStore) -> Iterator[Waste]:
    """Updates of jobs that were removed: a trainer that was still at work stored them afterwards."""
    for job in store.folders("updates/"):
        if keys.is_name(job) and store.stat(keys.spec(job)) is not None:
            continue
        for info in store.list(f"updates/{job}/"):
            yield Waste(info.key, info.size, "its job is gone")


def halves(store: ObjectStore) -> Iterator[str]:
    """Ids under which something lies and no job: a submit, fork or rm that broke off, or is under way."""
    for job in store.folders("jobs/"):
        if keys.is_name(job) and store.stat(keys.spec(job)) is None:
            yield job


def remove(store: ObjectStore, job: str) -> Iterator[ObjectInfo]:
    """Delete everything of a job, naming each object once it is gone. Can be repeated after it broke off.

    The control documents outlive the spec: a job whose end was forgotten would be led again.
    """
    control, spec = keys.controls(job), keys.spec(job)
    yield from _delete(store, store.list(keys.updates(job)))
    inside = list(store.list(keys.job_prefix(job)))
    yield from _delete(store, (info for info in inside if info.key != spec and not info.key.startswith(control)))
    yield from _delete(store, (info for info in inside if info.key == spec))
    yield from _delete(store, (info for info in inside if info.key.startswith(control)))


class Committed:
    """The committed rounds of a job, and who counts in them."""

    def __init__(self, store: ObjectStore, job: str) -> None:
        self._record = Record(store, job)
        self._counted: dict[int, frozenset[tuple[str, str]]] = {}
        highest = self._record.highest_manifest()
        if highest is not None and not self._record.committed(highest):
            highest = highest - 1 if highest else None
        self.last: int | None = highest

    @property
    def ended(self) -> bool:
        """Whether the job is over: nothing of it is evaluated any more."""
        return self._record.control().command in ENDS

    def counts(self, number: int, client: str, attempt: str) -> bool:
        """Whether this attempt counts in a committed round."""
        if number not in self._counted:
            entries = self._record.manifest(number).entries
            self._counted[number] = frozenset((entry.client, entry.attempt) for entry in entries)
        return (client, attempt) in self._counted[number]


def checkpoint_kept(spec: JobSpec, number: int, last: int) -> bool:
    """Whether the checkpoint of this round stays once round `last` is committed."""
    rule, count = keep_rule(spec.keep_checkpoints)
    if rule == "last":
        return number > last - max(LATEST, count)
    return rule == "all" or number > last - LATEST or number % count == 0


def outdated_by(spec: JobSpec, last: int) -> list[int]:
    """Rounds whose checkpoint the rule gives up with the commit of round `last`."""
    _, count = keep_rule(spec.keep_checkpoints)
    numbers = {last - LATEST, last - max(LATEST, count)}
    return [number for number in sorted(numbers) if number >= 0 and not checkpoint_kept(spec, number, last)]


def outdated_checkpoints(store: ObjectStore, spec: JobSpec, last: int) -> Iterator[str]:
    """What goes of them with the commit of round `last`; what waited to be judged goes with a later one."""
    if spec.keep_checkpoints == "all":
        return
    if not is_evaluated(spec, spec.rounds):
        for number in outdated_by(spec, last):
            yield from (keys.checkpoint(spec.job, number), keys.optimizer(spec.job, number))
        return
    _, count = keep_rule(spec.keep_checkpoints)
    before = last - max(LATEST, count) - (OPEN_MAX + 1) * spec.evaluate.every  # all of these went long ago
    after = keys.checkpoint(spec.job, before) if before > 0 else ""
    yield from (one.key for one in _checkpoints(store, spec, last, waiting(store, spec, last), after=after))


def superseded_in(store: ObjectStore, spec: JobSpec, number: int, last: int) -> Iterator[str]:
    """What a round's clients kept before it, or with attempts of it that did not count: no kept round needs it.

    Nor one up to the committed `last` that is still to be judged.
    """
    if rule_of(spec).keeps == "nothing" or kept_at_site(spec):
        return
    number = min([number, *waiting(store, spec, last)])
    for entry in Record(store, spec.job).manifest(number).entries:
        stays = keys.client_state(spec.job, entry.client, number, entry.attempt)
        for info in store.list(keys.client_states(spec.job, entry.client)):
            found = keys.read_client_state(info.key)
            if found is not None and found.round <= number and info.key != stays:
                yield info.key


def _updates(store: ObjectStore, spec: JobSpec, committed: Committed) -> Iterator[Waste]:
    assert committed.last is not None
    prefix = keys.updates(spec.job)
    for info in store.list(prefix):
        folder = info.key.removeprefix(prefix).partition("/")[0]
        if not _ROUND.match(folder):
            yield Waste(info.key, info.size, "not an update of any round")
            continue
        if int(folder) > committed.last:
            return  # listed in the order of rounds: all that follow are not committed
        if int(folder) <= committed.last - spec.keep_updates:
            yield Waste(info.key, info.size, f"update of a round before the {spec.keep_updates} that are kept")
        elif not any(committed.counts(n.round, n.client, n.attempt) for n in keys.read_updates(info.key)):
            yield Waste(info.key, info.size, f"did not count in round {int(folder)}")


def _checkpoints(
    store: ObjectStore, spec: JobSpec, last: int, bases: Collection[int], *, after: str = ""
) -> Iterator[Waste]:
    """Those that the rule gives up, and that nobody who is out starts from or has to judge."""
    if spec.keep_checkpoints == "all":
        return
    for info in store.list(keys.checkpoints(spec.job), after=after):
        found = _CHECKPOINT.search(info.key)
        if found and int(found[1]) not in bases and not checkpoint_kept(spec, int(found[1]), last):
            yield Waste(info.key, info.size, f'keep_checkpoints = "{spec.keep_checkpoints}"')


def _client_states(store: ObjectStore, spec: JobSpec, committed: Committed, judged: Collection[int]) -> Iterator[Waste]:
    """State of attempts that did not count, and what none of the last `keep_updates` rounds started from.

    Nor any of those that are still to be judged.
    """
    assert committed.last is not None
    since = min([committed.last - spec.keep_updates, *judged])
    in_force: tuple[ObjectInfo, keys.ClientStateName] | None = None  # the client's newest that counted up to `since`
    for info in store.list(keys.client_states(spec.job)):  # by client, then round
        found = keys.read_client_state(info.key)
        if found is None or found.round > committed.last:
            continue
        if found.round and not committed.counts(found.round, found.client, found.attempt):  # round 0's a fork copied
            yield Waste(info.key, info.size, f"did not count in round {found.round}")
        elif found.round <= since:
            if in_force is not None and in_force[1].client == found.client:
                older, name = in_force
                yield Waste(older.key, older.size, f"round {found.round} superseded what was kept in {name.round}")
            in_force = info, found


def _delete(store: ObjectStore, infos: Iterable[ObjectInfo]) -> Iterator[ObjectInfo]:
    for info in infos:
        store.delete(info.key)
        yield info
