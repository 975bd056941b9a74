"""What the disk says, in our words: full and broken are for later, rights are for a person."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from .errors import StorageRefused, StorageUnavailable

_LATER = {
    errno.ENOSPC: "the disk is full: make room there",
    errno.EDQUOT: "the disk quota is used up: make room there",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk answers with an input/output error",
    errno.EMFILE: "this process has too many files open",
}


@contextlib.contextmanager
def disk_answers(place: Path) -> Iterator[None]:
    """Turn an OSError inside into one of ours.

    Raises:
        StorageRefused: rights, or a file where a folder is needed.
        StorageUnavailable: anything else, a full disk among it.
    """
    try:
        yield
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise StorageRefused(f"{place}: {error.strerror} ({error.filename}): mend its owner or rights") from error
    except OSError as error:
        words = _LATER.get(error.errno or 0) or f"{error.strerror or error} ({error.filename or place})"
        raise StorageUnavailable(f"{place}: {words}") from error
