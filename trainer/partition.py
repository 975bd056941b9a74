"""Partitioners: which rows of one data set each client holds. Pure numpy, seeded, named as in the literature.

Each gives one array of row numbers a client: int64, ascending. Together they hold every row once, unless an
overlap is declared. The same arguments give the same parts: with an int as the seed each call draws from a
generator of its own, with a numpy Generator it goes on from there. ValueError names what cannot be.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike

from . import dealing
from .dealing import Parts, Rows, Seed

OVERLAP_MAX = 0.3
SPREAD_MAX = 100.0  # of `quantity_skew`: far beyond all rows at one client
DRAWS_MAX = 50  # of `dirichlet`, before the smallest clients are topped up instead
MIN_SIZE = 10  # rows of a client, in `dirichlet`


class HasIndex(Protocol):
    """A client as a task sees it."""

    @property
    def index(self) -> int: ...
    @property
    def count(self) -> int: ...


def share(parts: Sequence[Rows], client: HasIndex) -> Rows:
    """This client's rows of a partition made for all `client.count` of them."""
    if len(parts) != client.count:
        raise ValueError(f"partition of {len(parts)} parts, and the job has {client.count} clients")
    return parts[client.index]


def iid(rows: int, clients: int, seed: Seed) -> Parts:
    """Shuffled, then dealt out evenly: McMahan et al. 2017, section 3 (IID)."""
    chance = dealing.chance_of(seed)
    return dealing.deal_out(dealing.even(dealing.enough(rows, clients), clients), chance.permutation(rows))


def dirichlet(labels: ArrayLike, clients: int, seed: Seed, *, alpha: float = 0.5, min_size: int | None = None) -> Parts:
    """Each class is dealt out in proportions drawn from Dir(alpha): Yurochkin et al. 2019, section 4.

    Their code draws until each client has 10 rows, which may be for ever. After `DRAWS_MAX` draws here the last
    one stands, and spare rows drawn from the larger clients fill up the smaller.

    Args:
        labels: (rows,) of anything that sorts.
        clients: how many parts.
        seed: see above.
        alpha: above 0; the smaller, the fewer classes a client has.
        min_size: rows that each client has at least; by default 10, or a fifth of an even
            share where that is less.
    """
    chance, classes = dealing.chance_of(seed), dealing.classes_of(labels, clients)
    rows = len(classes)
    least = max(1, min(MIN_SIZE, rows // clients // 5))
    if min_size is not None:
        least = dealing.whole("min_size", min_size, 0, rows)
    dealing.enough(rows, clients, least)
    spread = np.full(clients, dealing.positive("alpha", alpha))
    totals = np.bincount(classes)
    for _ in range(DRAWS_MAX):
        counts = dealing.apportion(dealing.defined(chance.dirichlet(spread, len(totals)), chance), totals)
        if counts.sum(axis=0).min() >= least:
            break
    return dealing.by_owner(
        dealing.topped_up(dealing.deal_classes(classes, counts, chance), clients, least, chance), clients
    )


def dirichlet_per_client(labels: ArrayLike, clients: int, seed: Seed, *, alpha: float = 0.5) -> Parts:
    """Each client draws its mix of classes from Dir(alpha p), p the classes' shares: Hsu, Qi and Brown 2019.

    Clients are of even size. A class that is used up drops out of the later clients' mixes.
    """
    chance, classes = dealing.chance_of(seed), dealing.classes_of(labels, clients)
    dealing.positive("alpha", alpha)
    left = np.bincount(classes)
    mixes = dealing.defined(chance.dirichlet(alpha * left / len(classes), clients), chance)  # (clients, classes)
    counts = np.zeros((len(left), clients), np.int64)
    for client, size in enumerate(dealing.even(len(classes), clients)):
        counts[:, client] = dealing.draw_without_return(mixes[client], left, int(size), chance)
        left = left - counts[:, client]
    return dealing.by_owner(dealing.deal_classes(classes, counts, chance), clients)


def shards(labels: ArrayLike, clients: int, seed: Seed, *, per_client: int = 2) -> Parts:
    """Rows sorted by label, cut into even shards, `per_client` for each: McMahan et al. 2017, section 3.

    Their pathological MNIST: 100 clients and 2 shards each give 200 shards of 300.
    """
    chance, classes = dealing.chance_of(seed), dealing.classes_of(labels, clients)
    per_client = dealing.whole("per_client", per_client, 1, len(classes))
    number = clients * per_client
    dealing.enough(len(classes), clients, per_client)
    owner_of_shard = np.empty(number, np.int64)
    owner_of_shard[chance.permutation(number)] = np.repeat(np.arange(clients), per_client)
    owners = np.empty(len(classes), np.int64)
    owners[np.argsort(classes, kind="stable")] = np.repeat(owner_of_shard, dealing.even(len(classes), number))
    return dealing.by_owner(owners, clients)


def classes_per_client(labels: ArrayLike, clients: int, seed: Seed, *, classes: int = 2) -> Parts:
    """Each client holds `classes` labels, each dealt evenly to its holders: Li et al. 2022 (NIID-Bench), #C = k.

    The holders are drawn so that every label has one, and all have about as many. A label with fewer rows than
    holders leaves some of them without.
    """
    chance, of_row = dealing.chance_of(seed), dealing.classes_of(labels, clients)
    totals = np.bincount(of_row)
    classes = dealing.whole("classes", classes, 1, len(totals))
    if clients * classes < len(totals):
        raise ValueError(f"{clients} clients x {classes} classes do not cover the {len(totals)} classes")
    holds = np.zeros((len(totals), clients), np.float64)
    for client in range(clients):
        order = np.lexsort((chance.random(len(totals)), holds.sum(axis=1)))  # the least held first
        holds[order[:classes], client] = 1
    return dealing.by_owner(dealing.deal_classes(of_row, dealing.apportion(holds, totals), chance), clients)


def quantity_skew(
    rows: int,
    clients: int,
    seed: Seed,
    *,
    law: Literal["power", "lognormal"] = "power",
    spread: float = 1.0,
    min_size: int = 1,
) -> Parts:
    """IID rows in unequal sizes: Li, Sahu et al. 2020 (FedProx), section 5 (a power law; their code: lognormal).

    Args:
        rows, clients, seed: see above.
        law: "power": sizes as k^-spread over the clients in random order; "lognormal": as e^(spread z), z
            standard normal.
        spread: 0 gives equal sizes.
        min_size: rows that each client has at least; the rest is dealt by the law.
    """
    chance = dealing.chance_of(seed)
    min_size = dealing.whole("min_size", min_size, 0, rows)
    dealing.not_negative("spread", spread, SPREAD_MAX)
    rest = dealing.enough(rows, clients, min_size) - clients * min_size
    if law == "power":
        logs = -spread * np.log(1.0 + chance.permutation(clients))
    elif law == "lognormal":
        logs = spread * chance.standard_normal(clients)
    else:
        raise ValueError(f'law {law!r} is neither "power" nor "lognormal"')
    sizes = dealing.apportion(np.exp(logs - logs.max())[None], np.array([rest]))[0] + min_size
    return dealing.deal_out(sizes, chance.permutation(rows))


def gaussian(labels: ArrayLike, clients: int, seed: Seed, *, deviation: float, mean: float | None = None) -> Parts:
    """Each class gives each client N(mean, deviation) rows, clipped: Diwangkara and Kistijantoro 2020.

    What was drawn is clipped to what the class has and then scaled so that the class is used up and no row is
    held twice; a client that drew nothing of any class gets one row.

    Args:
        labels, clients, seed: see above.
        deviation: in rows; 0 is balanced.
        mean: in rows of one class at one client; by default an even share of the class.
    """
    chance, classes = dealing.chance_of(seed), dealing.classes_of(labels, clients)
    dealing.not_negative("deviation", deviation, dealing.NUMBER_MAX)
    totals = np.bincount(classes)[:, None]
    middle = totals / clients if mean is None else np.full_like(totals, dealing.positive("mean", mean), np.float64)
    drawn = np.clip(middle + deviation * chance.standard_normal((len(totals), clients)), 0, totals)
    owners = dealing.deal_classes(classes, dealing.apportion(dealing.defined(drawn, chance), totals[:, 0]), chance)
    return dealing.by_owner(dealing.topped_up(owners, clients, 1, chance), clients)


def by_capacity(rows: int, clients: int, seed: Seed, *, capacities: Sequence[float], overlap: float = 0.0) -> Parts:
    """Sizes that follow each client's capacity, with a declared overlap, as for workers of unequal speed.

    Each client has one row, and the others are dealt by capacity. Every row is held once; beyond that each
    client also holds `overlap` times its size of others' rows, none twice.

    Args:
        rows, clients, seed: see above.
        capacities: one for each client, above 0, in any unit.
        overlap: 0 to 0.3.
    """
    chance = dealing.chance_of(seed)
    if len(capacities) != clients:
        raise ValueError(f"{len(capacities)} capacities for {clients} clients")
    dealing.not_negative("overlap", overlap, OVERLAP_MAX)
    weights = np.array([[dealing.positive("capacities", capacity) for capacity in capacities]])
    sizes = 1 + dealing.apportion(weights, np.array([dealing.enough(rows, clients) - clients]))[0]
    parts = dealing.deal_out(sizes, chance.permutation(rows))
    return [dealing.with_others(part, rows, int(len(part) * overlap), chance) for part in parts]


def natural(column: ArrayLike, clients: int | None = None) -> Parts:
    """One client a value of the column (writer, hospital), in sorted order: Caldas et al. 2018 (LEAF).

    With fewer clients than values, whole groups are dealt out, the largest first to whoever has the fewest.
    """
    groups = dealing.classes_of(column, 1)
    sizes = np.bincount(groups)
    if clients is None or clients == len(sizes):
        return dealing.by_owner(groups, len(sizes))
    if not 1 <= clients < len(sizes):
        raise ValueError(f"{clients} clients of a column with {len(sizes)} values")
    owner_of_group, held = np.empty(len(sizes), np.int64), np.zeros(clients, np.int64)
    for group in np.argsort(-sizes, kind="stable"):
        owner_of_group[group] = poorest = held.argmin()
        held[poorest] += sizes[group]
    return dealing.by_owner(owner_of_group[groups], clients)


_BY_ROWS: dict[str, Callable[..., Parts]] = {
    "iid": iid,
    "quantity-skew": quantity_skew,
    "by-capacity": by_capacity,
}
_BY_LABELS: dict[str, Callable[..., Parts]] = {
    "dirichlet": dirichlet,
    "dirichlet-per-client": dirichlet_per_client,
    "shards": shards,
    "classes-per-client": classes_per_client,
    "gaussian": gaussian,
}
NAMES = (*_BY_ROWS, *_BY_LABELS)


def by_name(name: str, labels: ArrayLike, clients: int, seed: Seed, **options: Any) -> Parts:
    """The partition that a job file names, with its options: `by_name("dirichlet", y, 10, 7, alpha=0.1)`."""
    partitioner = _BY_ROWS.get(name) or _BY_LABELS.get(name)
    if partitioner is None:
        near = difflib.get_close_matches(name, NAMES, 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(NAMES)}."
        raise ValueError(f"no partition is named {name!r}. {hint}")
    try:
        inspect.signature(partitioner).bind(labels, clients, seed, **options)
    except TypeError as error:
        raise ValueError(f"partition {name}: {error}") from None
    return partitioner(np.asarray(labels).shape[0] if name in _BY_ROWS else labels, clients, seed, **options)
