"""What a run is about: one or two small jobs and who serves them, drawn from the seed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from warren.storage.job import JobSpec, make_spec

TASK = b"def model(): ...\ndef data(client): ...\n"
KEEPING = 0.4  # of the jobs have clients that keep something from round to round
TASK_DIGEST = hashlib.sha256(TASK).hexdigest()


@dataclass(frozen=True, slots=True)
class Scene:
    """The jobs, and how many processes there are."""

    specs: tuple[JobSpec, ...]
    aggregators: int
    trainers: tuple[str, ...]  # the source that each takes from
    exact: bool  # whether the final bytes must be an undisturbed run's
    lease_seconds: float


def draw_scene(chance: random.Random) -> Scene:
    exact = chance.random() < 0.35
    many = chance.random() < 0.12
    specs = tuple(make_spec(_fields(chance, f"job-{n}", exact)) for n in range(2 if many else 1))
    sources = sorted({source for spec in specs for source in spec.sources})
    return Scene(
        specs=specs,
        aggregators=chance.choice((1, 2, 2, 2)),
        trainers=tuple(_trainers(chance, sources)),
        exact=exact,
        lease_seconds=chance.choice((2.0, 5.0)),
    )


def _trainers(chance: random.Random, sources: Sequence[str]) -> list[str]:
    trainers = list(sources)
    for source in sources:
        trainers += [source] * (chance.randint(0, 2) if source.startswith("pool") else chance.random() < 0.2)
    return trainers


def _fields(chance: random.Random, job: str, exact: bool) -> dict[str, Any]:
    clients = chance.randint(2, 5)
    fields: dict[str, Any] = {
        "job": job,
        "task": {"name": "fake", "file": "task.py", "digest": TASK_DIGEST},
        "rounds": chance.randint(1, 3),
        "seed": chance.randrange(1000),
        "fraction": chance.choice((1.0, 0.6)),
        "over_select": chance.choice((0, 1, 2)),
        "quorum": chance.choice(("100%", "80%", "50%", 1)),
        "below_quorum": chance.choice(("pause", "extend", "resample", "fail")),
        "max_extensions": chance.randint(0, 3),
        "deadline_seconds": chance.choice((6.0, 10.0, 15.0)),
        "keep_updates": chance.randint(0, 2),
        "keep_checkpoints": chance.choice(("all", "all", "2", "every 2")),
        "evaluate": {
            "every": chance.choice((0, 1, 2)),
            "clients": chance.randint(0, 3),
            "held_out": chance.random() < 0.5,
            "deadline_seconds": 8.0,
        },
    }
    if chance.random() < 0.4:
        fields["sites"] = [f"site{n}" for n in range(clients)]
    else:
        fields["clients"] = clients
    if exact:
        fields |= {"quorum": "100%", "below_quorum": "extend", "over_select": 0}
    if random.Random(f"{job}/{fields['seed']}/{clients}").random() < KEEPING:  # a draw of its own: others stay
        fields["strategy"] = {"name": "feddyn"}
        fields["rounds"] += 1
    return fields


def crowded(scene: Scene) -> Scene:
    """The same with more clients than leave together, and one trainer a source."""
    specs = tuple(spec if spec.sites else make_spec(_crowd(spec)) for spec in scene.specs)
    return replace(scene, specs=specs, trainers=tuple(dict.fromkeys(scene.trainers)))


def _crowd(spec: JobSpec) -> dict[str, Any]:
    return spec.model_dump(exclude={"strategy", "update"}) | {"clients": 3 * spec.clients, "fraction": 1.0}


def draw_flow_scene(chance: random.Random) -> Scene:
    """The same with asynchronous jobs. Exact is ssp with a bound of 0, which waits for all as rounds do."""
    scene = draw_scene(chance)
    specs = tuple(make_spec(_flowing(chance, spec, scene.exact)) for spec in scene.specs)
    return replace(scene, specs=specs)


def _flowing(chance: random.Random, spec: JobSpec, exact: bool) -> dict[str, Any]:
    kind = "ssp" if exact else chance.choice(("ssp", "fedasync", "fedbuff"))
    own: dict[str, Any] = {
        "ssp": {"staleness": 0 if exact else chance.choice((0, 1, 2, "inf"))},
        "fedasync": {},
        "fedbuff": {"buffer": chance.randint(1, len(spec.client_names))},
    }
    fields = spec.model_dump(exclude={"update", "strategy"})
    fields |= {"schedule": {"kind": kind, **own[kind]}, "over_select": 0}
    fields |= {"below_quorum": "extend" if spec.below_quorum == "resample" else spec.below_quorum}
    if kind == "ssp":
        fields |= {"fraction": 1.0}
    else:
        fields |= {"quorum": 1, "rounds": chance.randint(2, 8)}
    return fields
