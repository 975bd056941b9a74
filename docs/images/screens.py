"""Makes the pictures of five screens: watch, job show, doctor, job diff, and the plot of a partition.

    python docs/images/screens.py [FOLDER [SCREEN...]]     needs chromium, and the tests' servers for doctor

All numbers come from two runs of `digits` made here. Only the round in progress that `watch` shows is staged: the
rounds after the twelfth are left out, and a ledger says who of the thirteenth is still missing.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
WARREN = [sys.executable, "-m", "warren.cli.main"]
COLUMNS = 100
ROUNDS_SHOWN = 12
SCALE = 1.0


def main() -> None:
    """Make all five, in a folder of runs that is kept where one is named."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(made)
        one, other = runs(folder)
        wanted = sys.argv[2:] or ["partition", "watch", "job-show", "job-diff", "doctor"]
        if "partition" in wanted:
            command(folder, "check", "digits", "--plot", str(HERE / "partition.png"))
        if "watch" in wanted:
            picture("watch", watched(folder, one), 80)
        if "job-show" in wanted:
            picture("job-show", Text.from_ansi(command(folder, "job", "show", other, "--store", "runs")), 90)
        if "job-diff" in wanted:
            words = ("job", "diff", one, other, "--store", "runs", "-o", "curves.png")
            picture("job-diff", Text.from_ansi(command(folder, *words)), 80)
            shutil.copy(folder / "curves.png", HERE / "job-diff-curves.png")
        if "doctor" in wanted:
            picture("doctor", Text.from_ansi(examined(folder)), 82)


def runs(folder: Path) -> list[str]:
    """Two runs that differ: one of twenty rounds, one of eight with another rate in which a client's data is bad."""
    store = folder / "runs"
    if not store.is_dir():
        command(folder, "run", "digits", "--trainers", "2")
        words = ("--set", "train.lr=0.3", "--set", "strategy.name=fedavgm", "--set", "data.alpha=0.1")
        command(folder, "run", "digits", "--trainers", "2", "--rounds", "8", *words)
    found = sorted((store / "jobs").iterdir(), key=lambda job: (job / "job.json").stat().st_mtime)
    return [job.name for job in found]


def command(folder: Path, *words: str) -> str:
    """What a command prints, in colour as on a terminal."""
    folder.mkdir(parents=True, exist_ok=True)
    code = (
        "import sys, click; from warren.cli.main import main; click.utils.should_strip_ansi = lambda *_: False; main()"
    )
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "WARREN_DEVICE": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):
        sys.exit(f"warren {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def watched(folder: Path, job: str) -> object:
    """The display of a job in its thirteenth round."""
    from warren.cli.display import render
    from warren.cli.status import StatusReader
    from warren.storage.folder import FolderStore
    from warren.storage.ports import Presence
    from warren.storage.simulated import SimulatedLedger

    with tempfile.TemporaryDirectory() as made:
        copy = Path(made) / "jobs" / job
        shutil.copytree(folder / "runs" / "jobs" / job, copy, ignore=shutil.ignore_patterns("checkpoints", "control"))
        for place in ("rounds", "evaluations"):
            for file in (copy / place).glob("*.json"):
                if int(file.stem) > ROUNDS_SHOWN - (place == "evaluations"):
                    file.unlink()
        now = 1000.0
        ledger = SimulatedLedger(lambda: now)
        states = {f"c{number:03}": "valid" for number in range(10)} | {"c004": "asked", "c008": "asked"}
        progress = {"round": "13", "state": "running", "asked": "10", "wanted": "10", "quorum": "8", "valid": "8"}
        progress |= {"rejected": "0", "failed": "0", "deadline": str(now + 71), "started": str(now - 49)}
        ledger.set_progress(job, progress | {"clients": json.dumps(states)})
        ledger.announce(Presence("aggregator", "agg-1", {}), 60)
        for number in range(3):
            work = {"job": job, "client": "c004", "state": "training"} if number == 0 else {"state": "idle"}
            ledger.announce(Presence("trainer", f"t{number}", {"source": "pool.default", **work}), 60)
        return render(StatusReader(FolderStore(Path(made)), job, ledger).read())


def examined(folder: Path) -> str:
    """`warren doctor` on servers of the tests, one of which is not set as it should be."""
    sys.path.insert(0, str(ROOT / "tests"))
    import redis
    from servers.find import MINIO, RABBITMQ, REDIS, find_own
    from servers.rabbit import RabbitServer
    from servers.redis_server import RedisServer
    from servers.s3_server import ACCESS_KEY, SECRET_KEY, MinioServer, SeaweedServer

    found = find_own(MINIO)
    kinds = ((RabbitServer, find_own(RABBITMQ)), (RedisServer, find_own(REDIS)))
    servers = [kind(place, folder / kind.name) for kind, place in kinds]
    servers.append((SeaweedServer if found.stands_in else MinioServer)(found, folder / "s3"))
    try:
        for server in servers:
            server.start()
        rabbit, cache, store = servers
        os.environ.update(
            WARREN_AMQP=rabbit.url, WARREN_REDIS=cache.url, WARREN_S3=store.url, WARREN_S3_BUCKET="warren",
            WARREN_S3_ACCESS_KEY=ACCESS_KEY, WARREN_S3_SECRET_KEY=SECRET_KEY,
            WARREN_RABBITMQ_API=f"http://127.0.0.1:{rabbit.api_port}",
        )  # fmt: skip
        command(folder, "setup")
        with redis.Redis.from_url(cache.url) as client:
            client.config_set("maxmemory", "256mb")
            client.config_set("maxmemory-policy", "allkeys-lru")
        return "$ warren doctor digits --set deadline=1h\n" + command(
            folder, "doctor", "digits", "--set", "deadline=1h"
        )
    finally:
        for server in servers:
            server.close() if hasattr(server, "close") else server.kill()


def picture(name: str, shown: object, width: int) -> None:
    """Draw it as a terminal of this width, as PNG."""
    console = Console(record=True, width=width, force_terminal=True, file=io.StringIO(), highlight=False)
    console.print(shown)
    svg = console.export_svg(title=f"warren {name.replace('-', ' ')}")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.S).replace("Fira Code", "DejaVu Sans Mono")
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert box is not None
    size = [round(float(length) * SCALE) for length in box.groups()]
    with tempfile.TemporaryDirectory() as made:
        file = Path(made) / "screen.html"
        file.write_text(f"<body style='margin:0'>{svg}</body>")
        words = ["--headless", "--no-sandbox", "--hide-scrollbars", "--default-background-color=00000000"]
        words += [f"--window-size={size[0]},{size[1]}", f"--screenshot={HERE / f'{name}.png'}"]
        subprocess.run(["chromium", *words, str(file)], check=True, capture_output=True)


if __name__ == "__main__":
    main()
