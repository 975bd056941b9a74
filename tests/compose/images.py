"""The engine and the images of the container tests: pulled, or made by a program where none can be pulled.

Standard library only: it may run before anything is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from servers.find import CACHED_PROGRAMS

ROOT = Path(__file__).parents[2]
PROGRAM = "WARREN_TEST_IMAGES"  # `PROGRAM --engine` sees to an engine, `PROGRAM NAME...` makes look-alikes of images
BESIDE = ROOT.parent / "shared" / "tools" / "stand-in-images"  # such a program, where the checkout has one beside it
VARIABLES = {  # part of an image's name -> what names another in its place
    "rabbitmq": "RABBITMQ",
    "valkey": "REDIS",
    "silo": "MINIO",
    "python": "PYTHON",
    "prometheus": "PROMETHEUS",
    "haproxy": "HAPROXY",
}
WITHOUT_STAND_IN = ("grafana/",)  # no test starts it
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
REACH_SECONDS = 5.0
ASK_SECONDS = 60.0
PULL_SECONDS = 600.0
MAKE_SECONDS = 1200.0


class ImagesMissing(Exception):
    """No engine, or an image can't be had here; the words say which, and what would help."""


class Images:
    """The images of an installation, on an engine that is there or is started."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = dict(environment)
        self._program = program()
        self.stood_in: list[str] = []

    def use(self, named: Sequence[str]) -> dict[str, str]:
        """See that they and the Python that ours is built on are here: the variables that name them in their place.

        Raises:
            ImagesMissing: one can be neither pulled nor made.
        """
        ours = self._environment.get("WARREN_IMAGE", "warren:local")
        names = sorted({name for name in named if name != ours and not name.startswith(("warren:", *WITHOUT_STAND_IN))})
        names.append(self._environment.get("WARREN_IMAGE_PYTHON") or default_python())
        self._pull([name for name in names if not _here(name) and not _here(_plain(name))])
        settings: dict[str, str] = {}
        for name in names:
            if not _here(name):
                self._make(_plain(name))
            if not _was_pulled(name):
                self.stood_in.append(_plain(name))
                settings |= {f"WARREN_IMAGE_{variable}": _plain(name) for variable in _variables(name)}
        return settings | self._torch()

    def _pull(self, names: Sequence[str]) -> None:
        """Pull, until one can't be: then a registry is out of reach, and others can't either."""
        for name in names:
            if not _succeeds("docker", "pull", "-q", name, seconds=PULL_SECONDS):
                return

    def _make(self, name: str) -> None:
        if _here(name):
            return
        if self._program is None:
            raise ImagesMissing(f"{name} can't be pulled, and {PROGRAM} names no program that makes its like")
        folders = [str(CACHED_PROGRAMS), str(Path.home() / "go" / "bin")]
        path = os.pathsep.join([self._environment.get("PATH", os.defpath), *folders])
        if not _succeeds(self._program, name, seconds=MAKE_SECONDS, environment={**self._environment, "PATH": path}):
            raise ImagesMissing(f"{self._program} {name} failed")
        if not _here(name):
            raise ImagesMissing(f"{self._program} made no {name}")

    def _torch(self) -> dict[str, str]:
        """The ordinary torch where PyTorch's index of CPU builds is out of reach: larger, and the same to the tests."""
        index = self._environment.get("WARREN_TORCH_INDEX") or TORCH_INDEX
        if self._environment.get("WARREN_TORCH") or _reachable(f"{index.rstrip('/')}/torch/"):
            return {}
        return {"WARREN_TORCH": "cuda"}


def program() -> str | None:
    """What makes look-alikes here."""
    found = os.environ.get(PROGRAM) or (str(BESIDE) if os.access(BESIDE, os.X_OK) else None)
    return found or None


def engine() -> None:
    """See that a Docker engine with compose answers.

    Raises:
        ImagesMissing: none does, and none can be started.
    """
    if _engine_answers():
        return
    starter = program()
    if starter is None:
        raise ImagesMissing(f"no Docker engine with compose answers, and {PROGRAM} names no program that starts one")
    if not _succeeds(starter, "--engine", seconds=MAKE_SECONDS) or not _engine_answers():
        raise ImagesMissing(f"{starter} --engine started none")


def default_python() -> str:
    """The image that ours is built on."""
    found = re.search(r"PYTHON_IMAGE=(\S+)", (ROOT / "deploy" / "Dockerfile").read_text())
    assert found is not None
    return found[1]


def _engine_answers() -> bool:
    asked = (("docker", "info"), ("docker", "compose", "version"))
    return shutil.which("docker") is not None and all(_succeeds(*words) for words in asked)


def _plain(name: str) -> str:
    return name.partition("@")[0]


def _variables(name: str) -> list[str]:
    return [variable for part, variable in VARIABLES.items() if part in name]


def _here(image: str) -> bool:
    return _succeeds("docker", "image", "inspect", image)


def _was_pulled(image: str) -> bool:
    """An image that was made here has no digest of a registry's."""
    words = ["docker", "image", "inspect", "--format", "{{len .RepoDigests}}", image]
    done = subprocess.run(words, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    return done.returncode == 0 and done.stdout.strip() != "0"


def _reachable(url: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=REACH_SECONDS):
            return True
    except OSError:  # of urllib too
        return False


def _succeeds(*words: str, seconds: float = ASK_SECONDS, environment: Mapping[str, str] | None = None) -> bool:
    try:
        done = subprocess.run(
            list(words),
            env=dict(environment) if environment else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"{words[0]}: {error}", flush=True)
        return False
    if done.returncode and seconds > ASK_SECONDS:
        print(f"{' '.join(words)}: {done.stdout.decode(errors='replace')[-800:]}", flush=True)
    return done.returncode == 0
