"""Other frameworks, each in an environment of its own below .cache/peers: python benchmarks/environments.py [NAME...]

Their dependencies would not fit beside ours. The runners are written for these versions.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".cache" / "peers"
PACKAGES: dict[str, tuple[str, ...]] = {
    "flower": ("flwr[simulation]==1.41.0",),
    "nvflare": ("nvflare==2.9.0",),
    "pfl": ("pfl==0.6.0",),
}
STAMP = "installed"  # written last: an environment without it is half made


def python(peer: str) -> Path:
    """Its interpreter."""
    return FOLDER / peer / "bin" / "python"


def missing(peer: str) -> str:
    """Why it can't run, in words for a table; "" if it can."""
    return "" if (FOLDER / peer / STAMP).exists() else "not installed (make peers)"


def make(peer: str) -> str:
    """Make its environment; why not, in a line, or ""."""
    venv.create(FOLDER / peer, with_pip=True, clear=True)
    done = subprocess.run(
        [str(python(peer)), "-m", "pip", "install", "-q", *PACKAGES[peer]], capture_output=True, text=True
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
    (FOLDER / peer / STAMP).touch()
    return ""


def main() -> None:
    for peer in sys.argv[1:] or PACKAGES:
        if missing(peer):
            print(f"{peer}: {make(peer) or 'installed'}", flush=True)


if __name__ == "__main__":
    main()
