"""Two sites with accounts of their own on a fleet's servers."""

from __future__ import annotations

import subprocess

from services.fleet import Fleet
from services.member import WARREN

from warren.cli.admin_rabbit import API_VARIABLE

A, B = "site-a", "site-b"


class House:
    """A fleet's servers with accounts for two sites on them."""

    def __init__(self, fleet: Fleet, api: str) -> None:
        self.fleet = fleet
        self.environment = {**fleet.environment, API_VARIABLE: api}
        self.bundles = {site: self.warren_site("add", site) for site in (A, B)}

    def warren_site(self, *words: str, code: int = 0) -> dict[str, str]:
        done = subprocess.run(
            [str(WARREN), "site", *words], env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    def listed(self) -> str:
        done = subprocess.run(
            [str(WARREN), "site", "list"], env=self.environment, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout
