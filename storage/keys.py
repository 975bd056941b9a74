"""Where everything stands in the bucket: one function a kind of object, and the way back from a key."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

PARCEL_CHARACTERS_MAX = 220  # of a parcel's name: file systems stop at 255, its ending included

NAME = re.compile(r"[a-z0-9-]{1,63}\Z")


def is_name(text: str) -> bool:
    """Whether the text may name a job, client, site, pool or attempt."""
    return NAME.match(text) is not None


def job_prefix(job: str) -> str:
    return f"jobs/{_name(job)}/"


def spec(job: str) -> str:
    return f"{job_prefix(job)}job.json"


def task(job: str, file: str) -> str:
    return f"{job_prefix(job)}task/{file}"


def controls(job: str) -> str:
    return f"{job_prefix(job)}control/"


def control(job: str, number: int) -> str:
    return f"{controls(job)}{number:05}.json"


def plan(job: str, round_number: int, plan_number: int) -> str:
    return f"{job_prefix(job)}plans/{round_number:05}.{plan_number:02}.json"


def plans(job: str, round_number: int) -> str:
    return f"{job_prefix(job)}plans/{round_number:05}."


def manifests(job: str) -> str:
    return f"{job_prefix(job)}rounds/"


def manifest(job: str, round_number: int) -> str:
    return f"{manifests(job)}{round_number:05}.json"


def checkpoints(job: str) -> str:
    return f"{job_prefix(job)}checkpoints/"


def checkpoint(job: str, round_number: int) -> str:
    return f"{checkpoints(job)}round-{round_number:05}.safetensors"


def optimizer(job: str, round_number: int) -> str:
    return f"{checkpoints(job)}round-{round_number:05}.optimizer.safetensors"


def evaluations(job: str) -> str:
    return f"{job_prefix(job)}evaluations/"


def evaluation(job: str, round_number: int) -> str:
    return f"{evaluations(job)}{round_number:05}.json"


def client_states(job: str, client: str | None = None) -> str:
    """The prefix of what clients keep: of all, or of one."""
    prefix = f"{job_prefix(job)}clients/"
    return prefix if client is None else f"{prefix}{_name(client)}/"


def client_state(job: str, client: str, round_number: int, attempt: str) -> str:
    return f"{client_states(job, client)}{round_number:05}.{_name(attempt)}.safetensors"


def derived(job: str, file: str) -> str:
    """`final.safetensors`, `best.safetensors`, `metrics.csv`, `curves.png`."""
    return f"{job_prefix(job)}{file}"


def updates(job: str, round_number: int | None = None, source: str | None = None, client: str | None = None) -> str:
    """The prefix of a job's updates: of all, of a round, of a source in it, of a client there."""
    prefix = f"updates/{_name(job)}/"
    if round_number is not None:
        prefix += f"{round_number:05}/"
    if source is not None:
        prefix += f"{source}/"
    if client is not None:
        prefix += f"{_name(client)}."
    return prefix


def update(job: str, round_number: int, source: str, client: str, attempt: str) -> str:
    """Of an update that is an object of its own."""
    return f"{updates(job, round_number, source, client)}{_name(attempt)}.safetensors"


def parcels(job: str, round_number: int, source: str) -> str:
    """The prefix of a source's parcels of a round: each holds small updates of several clients."""
    return f"{updates(job, round_number, source)}_"


def parcel(job: str, round_number: int, source: str, name: str) -> str:
    return f"{updates(job, round_number, source)}{name}.safetensors"


def parcel_name(members: Iterable[tuple[str, str]]) -> str:
    """The name of a parcel that holds these clients' attempts: a listing tells all that is in it."""
    return "".join(f"_{_name(client)}.{_name(attempt)}" for client, attempt in members)


@dataclass(frozen=True, slots=True)
class UpdateName:
    """What the key of an update says."""

    job: str
    round: int
    source: str
    client: str
    attempt: str
    parcel: str = ""  # that it lies in; "": it is an object of its own

    @property
    def place(self) -> str:
        """The key of the update's own object; in a parcel that one's key, "#", and `<client>.<attempt>`."""
        if not self.parcel:
            return update(self.job, self.round, self.source, self.client, self.attempt)
        return f"{parcel(self.job, self.round, self.source, self.parcel)}#{self.client}.{self.attempt}"


def split_place(place: str) -> tuple[str, str]:
    """(the object's key, which member of it); no member where the object is the update."""
    key, _, member = place.partition("#")
    return key, member


_FOLDER = r"updates/(?P<job>[a-z0-9-]{1,63})/(?P<round>\d{5})/(?P<source>(?:site|pool)\.[a-z0-9-]{1,63})/"
_MEMBER = r"[a-z0-9-]{1,63}\.[a-z0-9-]{1,63}"
PARCEL_PATTERN = rf"^(?:_{_MEMBER}){{2,64}}$"
_UPDATE = re.compile(rf"{_FOLDER}(?P<members>{_MEMBER}|(?:_{_MEMBER}){{2,64}})\.safetensors\Z")


def read_updates(key: str) -> tuple[UpdateName, ...]:
    """The way back from a key: one update, those of a parcel, or none for any other key."""
    found = _UPDATE.match(key)
    if found is None:
        return ()
    name = found["members"] if found["members"].startswith("_") else ""
    members = (member.split(".") for member in found["members"].removeprefix("_").split("_"))
    place = found["job"], int(found["round"]), found["source"]
    return tuple(UpdateName(*place, client, attempt, name) for client, attempt in members)


def read_update(key: str) -> UpdateName | None:
    """The way back from the key of an update that is an object of its own; None for any other key."""
    names = read_updates(key)
    return names[0] if len(names) == 1 else None


@dataclass(frozen=True, slots=True)
class ClientStateName:
    """What the key of a client's state says: kept by this attempt in this round."""

    client: str
    round: int
    attempt: str


_CLIENT_STATE = re.compile(
    r"jobs/[a-z0-9-]{1,63}/clients/(?P<client>[a-z0-9-]{1,63})/(?P<round>\d{5})\."
    r"(?P<attempt>[a-z0-9-]{1,63})\.safetensors\Z"
)


def read_client_state(key: str) -> ClientStateName | None:
    """The way back from the key of a client's state; None for any other key."""
    found = _CLIENT_STATE.match(key)
    return None if found is None else ClientStateName(found["client"], int(found["round"]), found["attempt"])


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"not a name ([a-z0-9-], 1 to 63 long): {text[:80]!r}")
    return text
