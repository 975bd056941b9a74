"""Peak memory of closing a round, whole and range by range: python benchmarks/fold_memory.py [--model-mib 256]

Each cell is a process of its own that examines a round's updates and writes its checkpoint as an aggregator does. The
store is a folder, with its files mapped or, as `store`, behind reads of ranges alone and with no room in the spool.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import report

CLIENTS = 4
TENSORS = 8
CELLS: list[tuple[str, str, str, str]] = [  # strategy, reducer, how updates are read, whether there is a limit
    ("fedavg", "average", "files", ""),
    ("fedavg", "average", "files", "limit"),
    ("fedavg", "average", "store", "limit"),
    ("fedadam", "average", "files", ""),
    ("fedadam", "average", "files", "limit"),
    ("fedavg", "median", "files", ""),
    ("fedavg", "median", "files", "limit"),
    ("fedavg", "krum", "files", ""),
    ("fedavg", "krum", "files", "limit"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-mib", type=int, default=256)
    parser.add_argument("--limit-mib", type=int, default=64)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--cell", type=int)
    parser.add_argument("--folder", type=Path)
    told = parser.parse_args()
    if told.cell is not None:
        strategy, reducer, read, limited = CELLS[told.cell]
        print(json.dumps(close_round(told.folder, strategy, reducer, read, limited, told.model_mib, told.limit_mib)))
        return
    found = {"machine": report.machine(), "model_mib": told.model_mib, "limit_mib": told.limit_mib, "rows": run(told)}
    print(as_table(found["rows"]))
    if told.save:
        report.save("fold_memory", found)


def run(told: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for number in range(len(CELLS)):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--cell", str(number), "--folder", folder]
            command += ["--model-mib", str(told.model_mib), "--limit-mib", str(told.limit_mib)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout))
            print(as_table(rows[-1:]).splitlines()[-1], file=sys.stderr)
    return rows


def as_table(rows: list[dict[str, Any]]) -> str:
    columns = ("strategy", "reducer", "updates read from", "limit, MiB", "beyond idle, MiB", "seconds", "bytes")
    return report.table(
        columns,
        [
            [
                row["strategy"],
                row["reducer"],
                row["read"],
                str(row["limit_mib"] or "none"),
                f"{row['peak_mib'] - row['idle_mib']:.0f}",
                f"{row['seconds']:.1f}",
                row["digest"],
            ]
            for row in rows
        ],
    )


def close_round(
    folder: Path, strategy: str, reducer: str, read: str, limited: str, model_mib: int, limit_mib: int
) -> dict[str, Any]:
    """Make the updates, then measure: idle is what the process holds once torch is there and nothing is read."""
    from warren.aggregator.averaging import Averaging
    from warren.storage.documents import Manifest
    from warren.storage.folder import FolderStore
    from warren.storage.job import make_spec
    from warren.storage.keys import read_update

    class Behind(FolderStore):
        def local_path(self, key: str) -> Path | None:
            return None

    task = {"name": "t", "file": "t.py", "digest": "0" * 64}
    robust = {"name": reducer} | ({"f": 0} if reducer == "krum" else {})
    spec = make_spec({"job": "j", "task": task, "clients": CLIENTS, "strategy": {"name": strategy}, "reducer": robust})
    subprocess.run([sys.executable, "-c", MAKING, str(folder), str(model_mib), str(CLIENTS), str(TENSORS)], check=True)
    limit = limit_mib << 20 if limited else None
    store = Behind(folder / "store") if read == "store" else FolderStore(folder / "store")
    idle = peak_mib()
    numbers = Averaging(
        store, folder / "scratch", memory_limit=limit, **({"spool_bytes_max": 0} if read == "store" else {})
    )
    begun = time.monotonic()
    base = None
    for number in range(2):
        entries = []
        for info in store.list(f"updates/j/{number:05}/"):
            name = read_update(info.key)
            assert name is not None
            entries.append(numbers.examine(name, spec, base, None))
            numbers.offer(spec, number, entries[-1], spec.client_names)
        numbers.write(spec, Manifest(job="j", round=number, base=base, entries=tuple(entries)))
        base = numbers.base("j", number)
    seconds = time.monotonic() - begun
    written = b"".join(store.read(info.key, limit=1 << 40) for info in store.list("jobs/j/")) if model_mib < 8 else b""
    digest = hashlib.sha256(written).hexdigest()[:12] if written else base.digest[:12]  # type: ignore[union-attr]
    return {
        "strategy": strategy,
        "reducer": reducer,
        "read": read,
        "limit_mib": limit_mib if limited else None,
        "idle_mib": round(idle, 1),
        "peak_mib": round(peak_mib(), 1),
        "seconds": round(seconds, 2),
        "digest": digest,
    }


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


MAKING = """
import json, sys
from pathlib import Path
import torch
from warren.storage import keys
from warren.storage.folder import FolderStore
from warren.storage.torch_tensors import save
folder, mib, clients, tensors = Path(sys.argv[1]), *map(int, sys.argv[2:])
store = FolderStore(folder / "store")
names = [f"layer{n}" for n in range(tensors)]
for number in range(2):
    for client in range(clients if number else 1):
        chance = torch.Generator().manual_seed(100 * number + client)
        made = {name: torch.randn((mib << 18) // tensors, generator=chance) for name in names}
        who = f"c{client:03}"
        said = {"trainable": json.dumps(names), "tied": "{}", "warren": "1", "job": "j", "attempt": "a"}
        said |= {"round": str(number), "kind": "train" if number else "init", "client": who, "examples": "5"}
        save(folder / "update", made, said)
        store.create(keys.update("j", number, "pool.default", who, "a"), folder / "update", given=True)
        (folder / "update").unlink()
"""


if __name__ == "__main__":
    main()
