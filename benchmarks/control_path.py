"""The control path: rounds of many clients that train nothing on a model of 1 kB, and a job's first steps.

    python benchmarks/control_path.py                       # 10, 100, 1,000 and 10,000 clients a round: some minutes
    python benchmarks/control_path.py --clients 1000        # one of them; the saved others stay
    python benchmarks/control_path.py --short               # 10 and 100, saved below .cache/bench for compare.py

Two trainers, over real servers and embedded. Clients a second: clients over the seconds from one manifest to the
next. The floor moves as many objects of 1 kB through the same MinIO and Redis and does nothing else (floor.py); a row's
three parts are measured in one run. Messages a second are round jobs and completions: two a client. Submit to first job
taken: from the start of a submit (job and task into MinIO, the news to RabbitMQ) until a consumer that waits in a
trainer's place holds the first round job; the aggregator is idle before.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import floor
import report
from rig import Rig, rig
from round_overhead import TRAINERS, embedded, job, over_servers

from warren.broker.topology import rounds_queue

NAME = "control_path"
ROUNDS = {10: 6, 100: 5, 1000: 5, 10_000: 1}  # by clients; measured
WARM_UP = {10: 2, 100: 2, 1000: 1, 10_000: 0}
SHORT = (10, 100)
MESSAGES = 2  # a client: the round job and the completion
SUBMITS = 7
POOL = "waiting"  # of the jobs whose first round job is waited for: no trainer serves it
TAKE_SECONDS = 60.0


def first_taken(on: Rig) -> list[float]:
    """Seconds from submit to the first round job in a consumer's hands, one job after another."""
    queue = rounds_queue(f"pool.{POOL}")
    on.broker.declare([queue])
    consumer = on.broker.consume([queue])
    found = []
    for _ in range(SUBMITS):
        begun = time.perf_counter()
        name = on.submit(job(1000, "float32", 1, 1) | {"pool": POOL})
        delivery = consumer.take(TAKE_SECONDS)
        if delivery is None:
            raise TimeoutError(f"no round job of {name} in {TAKE_SECONDS:g} s")
        found.append(time.perf_counter() - begun)
        delivery.ack()
        on.cancel(name)
    consumer.close()
    return found


def measure(on: Rig, clients: int) -> dict[str, Any]:
    warm_up = WARM_UP[clients]
    rounds = warm_up + ROUNDS[clients]
    row: dict[str, Any] = {"clients": clients, "machine": report.machine()}
    fields = job(1000, "float32", clients, rounds)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "floor": lambda: floor.measure(
            on, size=1000, dtype="float32", clients=clients, rounds=rounds, trainers=TRAINERS
        ),
        "servers": lambda: over_servers(on, fields, warm_up),
        "embedded": lambda: embedded(fields, warm_up),
    }
    for place, run in parts.items():
        found = run()
        row[place] = report.spread(found["seconds"][-ROUNDS[clients] :])
        row[f"{place}_clients_a_second"] = round(clients / row[place]["median"], 1)
        row[f"{place}_peak_mib"] = found["peak_mib"]
    row["of_floor"] = round(row["floor"]["median"] / row["servers"]["median"], 3)
    return row


def as_table(rows: list[dict[str, Any]]) -> str:
    columns = ["clients", "floor, s a round", "servers, s a round", "of the floor's rate", "messages/s"]
    columns += ["embedded, s a round", "messages/s", "aggregator, MiB", "embedded, MiB"]
    lines = [
        [
            f"{row['clients']:,}",
            report.shown(row["floor"]) if "floor" in row else "not run",
            report.shown(row["servers"]),
            f"{row['of_floor']:.2f}" if "of_floor" in row else "",
            f"{MESSAGES * row['servers_clients_a_second']:.0f}",
            report.shown(row["embedded"]),
            f"{MESSAGES * row['embedded_clients_a_second']:.0f}",
            f"{row['servers_peak_mib']['aggregator']['process']:.0f}",
            f"{row['embedded_peak_mib']['process']:.0f}",
        ]
        for row in rows
    ]
    return report.table(columns, lines)


def merged(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The saved rows, those measured now in the places of their older selves."""
    by_clients = {row["clients"]: row for row in [*report.rows(NAME), *rows]}
    return [by_clients[clients] for clients in sorted(by_clients)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="10 and 100 clients")
    parser.add_argument("--clients", nargs="*", type=int, choices=list(ROUNDS), default=list(ROUNDS))
    given = parser.parse_args()
    about = report.machine()
    counts = SHORT if given.short else given.clients
    with rig(trainers=TRAINERS) as on:
        idle = on.peaks()
        taken = report.spread(first_taken(on))
        print(f"submit to first job taken: {report.shown(taken)} s", flush=True)
        rows: list[dict[str, Any]] = []
        for count in counts:
            rows.append(measure(on, count))
            print(as_table(rows[-1:]).splitlines()[-1], flush=True)
            kept = rows if given.short else merged(rows)
            fields = {"rows": kept, "first_job_taken_seconds": taken, "idle_mib": idle, "machine": about}
            report.save(NAME, fields, short=given.short)
    print(as_table(rows))


if __name__ == "__main__":
    main()
