"""Get what the container tests need and the machine lacks: `python -m compose.get`, before pytest.

Standard library only. Exit code 3: something can't be had here, the last line names it; 1: our image does not build.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

from compose.images import ASK_SECONDS, ROOT, Images, ImagesMissing, engine
from servers.get import apt_install

BROWSERS = ("chromium", "google-chrome", "chrome")
DRIVER = "chromedriver"
FILES = ("docker-compose.yml", "deploy/compose.observability.yml", "deploy/compose.edge.yml")
MISSING = 3
BUILD_SECONDS = 1800


def main() -> int:
    try:
        engine()
        images = Images()
        settings = images.use(named(FILES))
        browser()
    except ImagesMissing as error:
        print(f"container tests: {error}", flush=True)
        return MISSING
    if not build(settings):
        return 1
    print(f"container tests: images that stand in: {', '.join(images.stood_in) or 'none'}", flush=True)
    return 0


def build(settings: Mapping[str, str]) -> bool:
    """Build Warren's own image, so that the tests find its layers."""
    environment = {**os.environ, "WARREN_IMAGE": os.environ.get("WARREN_IMAGE", "warren:tests"), **settings}
    words = ["docker", "compose", "build", "--quiet", "credentials"]
    return subprocess.run(words, cwd=ROOT, env=environment, timeout=BUILD_SECONDS, check=False).returncode == 0


def browser() -> None:
    """See that Chromium and its driver are installed. Raises ImagesMissing."""
    if browser_program() and shutil.which(DRIVER):
        return
    if shutil.which("apt-get") and os.geteuid() == 0 and apt_install("chromium") and apt_install("chromium-driver"):
        return
    raise ImagesMissing("no Chromium: install chromium and chromium-driver")


def browser_program() -> str | None:
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def named(files: tuple[str, ...]) -> list[str]:
    """The images that compose files name."""
    words = [part for file in files for part in ("-f", file)]
    done = subprocess.run(
        ["docker", "compose", *words, "config", "--images"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=ASK_SECONDS,
        check=True,
    )
    return done.stdout.split()


if __name__ == "__main__":
    sys.exit(main())
