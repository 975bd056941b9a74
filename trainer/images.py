"""Image data sets from files that a person put in a folder, or fetched where there is a network: IDX, CIFAR binary."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILE_BYTES_MAX = 256 << 20  # CIFAR's largest is 31 MB, MNIST's 47 MB
CIFAR_ROW = 3073  # a label, then 32 x 32 red, green and blue
_IDX_UNSIGNED_BYTES = 0x08

Bytes = NDArray[np.uint8]


class FilesMissing(FileNotFoundError):
    """The files of a data set are in none of the folders; the words name them."""


def default_folder() -> Path:
    """Where data sets are kept when the trainer was started without a folder for data."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "warren" / "data"


def find(folder: Path, below: Sequence[str], names: Sequence[str]) -> list[Path] | None:
    """The files of these names, each as it is or with `.gz`, all in one folder; None where none has them all.

    Args:
        folder: the folder for data.
        below: folders below it to look in, in this order ("" is itself).
        names: of the files.
    """
    for place in below:
        found = [_either(folder / place / name) for name in names]
        if all(found):
            return [path for path in found if path is not None]
    return None


def read_idx(path: Path) -> Bytes:
    """The array of an IDX file (raw or gzipped) of unsigned bytes: (n,) labels or (n, rows, columns) images.

    Raises:
        ValueError: not such a file, or not whole.
    """
    body = _read(path)
    dimensions = body[3] if len(body) > 3 else 0
    start = 4 + 4 * dimensions
    if body[:2] != b"\0\0" or body[2:3] != bytes([_IDX_UNSIGNED_BYTES]) or not 1 <= dimensions <= 4:
        raise ValueError(f"{path.name}: not an IDX file of unsigned bytes")
    shape = [int(size) for size in np.frombuffer(body[4:start], ">u4")]
    if len(shape) != dimensions or len(body) - start != int(np.prod(shape, dtype=object)):
        raise ValueError(f"{path.name}: {len(body)} bytes do not hold an array of {shape}")
    return np.frombuffer(body, np.uint8, offset=start).reshape(shape).copy()


def read_cifar(path: Path) -> tuple[Bytes, Bytes]:
    """(images (n, 3, 32, 32), labels (n,)) of one file of CIFAR-10's binary version. Raises ValueError."""
    body = _read(path)
    if not body or len(body) % CIFAR_ROW:
        raise ValueError(f"{path.name}: {len(body)} bytes are no whole number of rows of {CIFAR_ROW}")
    rows = np.frombuffer(body, np.uint8).reshape(-1, CIFAR_ROW)
    return rows[:, 1:].reshape(-1, 3, 32, 32).copy(), rows[:, 0].copy()


def _either(path: Path) -> Path | None:
    return next((file for file in (path, path.with_name(path.name + ".gz")) if file.is_file()), None)


def _read(path: Path) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            body: bytes = file.read(FILE_BYTES_MAX + 1)
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path.name}: {error}") from None
    if len(body) > FILE_BYTES_MAX:
        raise ValueError(f"{path.name}: over the limit of {FILE_BYTES_MAX} bytes")
    return body
