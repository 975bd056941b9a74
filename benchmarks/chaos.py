"""`make chaos`: the whole soak on servers of its own; its table goes to results/ and into docs/reliability.md."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from servers.find import MINIO, RABBITMQ, REDIS, Found, Service, find_own
from servers.rabbit import RabbitServer
from servers.redis_server import RedisServer
from servers.s3_server import MinioServer, SeaweedServer
from services.fleet import Fleet, Servers
from services.soak import JOB, Soak, summary
from services.undisturbed import undisturbed

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "chaos.json"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="warren-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        print("an undisturbed run first", flush=True)
        expected = undisturbed(folder / "undisturbed", **JOB)
        start = time.monotonic()
        with _servers(folder) as servers, Fleet(servers, folder / "fleet") as fleet:
            soak = Soak(fleet, folder / "jobs", options.seed, expected)
            soak.run(options.kills, lambda line: print(line, flush=True))
    report = {
        "seed": options.seed,
        "kills": len(soak.kills),
        "jobs": len(soak.jobs),
        "rounds": len(soak.jobs) * JOB["rounds"],
        "minutes": round((time.monotonic() - start) / 60, 1),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[2], 1),
        "machine": platform.machine(),
        "faults": summary(soak.kills),
    }
    table = _table(report)
    print("\n" + table)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    _write_page(table)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


@contextlib.contextmanager
def _servers(folder: Path) -> Iterator[Servers]:
    store = _found(MINIO)
    kind = SeaweedServer if store.stands_in else MinioServer
    servers = Servers(
        RabbitServer(_found(RABBITMQ), folder / "rabbitmq"),
        RedisServer(_found(REDIS), folder / "redis"),
        kind(store, folder / "s3"),
    )
    try:
        servers.ensure()
        yield servers
    finally:
        for server in (servers.rabbit, servers.redis, servers.s3):
            server.close()


def _found(service: Service) -> Found:
    found = find_own(service)
    if found is None:
        raise SystemExit(f"no {service.name}: {service.remedy}")
    return found


def _table(report: dict[str, Any]) -> str:
    rows = [
        f"| {row['fault']} | {row['kills']} | {row['median_seconds']} s | {row['worst_seconds']} s |"
        for row in report["faults"]
    ]
    words = (
        f"{report['kills']} kills by seed {report['seed']} over {report['jobs']} jobs ({report['rounds']} rounds) in "
        f"{report['minutes']} minutes on {report['cores']} cores (load {report['load']}): nothing lost, nothing "
        "counted twice, and every checkpoint has the bytes of an undisturbed run. Recovery is the time from the kill "
        "until the job's next round is committed; a server's own restart is part of it."
    )
    return "\n".join(
        [words, "", "| fault | kills | recovery, median | recovery, worst |", "|---|---|---|---|", *rows, ""]
    )


def _write_page(table: str) -> None:
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table}{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
