"""The control path: rounds of many clients that train nothing on a model of 1 kB, and a job's first steps.

    python benchmarks/control_path.py             # 10, 100 and 1,000 clients a round
    python benchmarks/control_path.py --short     # 10 and 100, saved below .cache/bench for compare.py

Two trainers, over real servers and embedded. Clients a second: clients over the seconds from one manifest to the
next. Submit to first job taken: from the start of a submit (job and task into MinIO, the news to RabbitMQ) until a
consumer that waits in a trainer's place holds the first round job; the aggregator is idle before.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import report
from rig import Rig, rig
from round_overhead import TRAINERS, embedded, job, over_servers

from warren.broker.topology import rounds_queue

ROUNDS = {10: 6, 100: 5, 1000: 3}  # by clients; measured
WARM_UP = 2
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
    fields = job(1000, "float32", clients, WARM_UP + ROUNDS[clients])
    row: dict[str, Any] = {"clients": clients}
    for place, found in (("servers", over_servers(on, fields)), ("embedded", embedded(fields))):
        row[place] = report.spread(found["seconds"])
        row[f"{place}_clients_a_second"] = round(clients / row[place]["median"], 1)
        row[f"{place}_peak_mib"] = found["peak_mib"]
    return row


def as_table(rows: list[dict[str, Any]]) -> str:
    columns = ("clients", "servers, s a round", "clients/s", "embedded, s a round", "clients/s", "aggregator, MiB")
    lines = [
        [
            f"{row['clients']:,}",
            report.shown(row["servers"]),
            f"{row['servers_clients_a_second']:.0f}",
            report.shown(row["embedded"]),
            f"{row['embedded_clients_a_second']:.0f}",
            f"{row['servers_peak_mib']['aggregator']['process']:.0f}",
        ]
        for row in rows
    ]
    return report.table(columns, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="10 and 100 clients")
    given = parser.parse_args()
    about = report.machine()
    counts = [count for count in ROUNDS if not given.short or count <= 100]
    with rig(trainers=TRAINERS) as on:
        taken = report.spread(first_taken(on))
        print(f"submit to first job taken: {report.shown(taken)} s", flush=True)
        rows: list[dict[str, Any]] = []
        for count in counts:
            rows.append(measure(on, count))
            print(as_table(rows[-1:]).splitlines()[-1], flush=True)
            fields = {"rows": rows, "first_job_taken_seconds": taken, "machine": about}
            report.save("control_path", fields, short=given.short)
    print(as_table(rows))


if __name__ == "__main__":
    main()
