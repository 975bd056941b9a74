"""A text as speeches: who speaks, and what; and characters as numbers. No torch.

Plays mark a speaker in one of two ways, and the first that a text uses often is taken as its own:

    HAMLET.                     a line of capitals, with a full stop or a colon; the speech is below it
    Ham. To be, or not to be    as editions of the First Folio have it: indented, a short name, then the speech
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TEXT_BYTES_MAX = 64 << 20
SPEAKERS_MIN = 2
SPEECHES_MIN = 10  # of a text that has headings at all
ALPHABET = "\n" + "".join(map(chr, range(32, 127)))  # printable ASCII; any other character is the one after these
CHARACTERS = len(ALPHABET) + 1

_HEADINGS = (
    re.compile(r"^[ \t]*([A-Z][A-Z0-9' &-]{1,39})[.:][ \t]*$", re.M),
    re.compile(r"^[ \t]{1,8}([A-Z][A-Za-z]{1,15}(?: [A-Z][a-z]{1,15})?)\.[ \t]+(?=\S)", re.M),
)

Codes = NDArray[np.int64]

_PLACES: Codes = np.array([ALPHABET.find(chr(point)) % CHARACTERS for point in range(128)])  # -1: the last


def read_text(path: Path) -> str:
    """The text of a file (UTF-8), with one kind of line end.

    Raises:
        FileNotFoundError: no such file; the words say where it was looked for.
        ValueError: too long, or not UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no text {path}: name its folder with --data-dir, or its file under [data] file")
    with path.open("rb") as file:
        body = file.read(TEXT_BYTES_MAX + 1)
    if len(body) > TEXT_BYTES_MAX:
        raise ValueError(f"{path.name}: over {TEXT_BYTES_MAX >> 20} MiB of text")
    try:
        return body.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 text, from byte {error.start} on") from None


def speeches(text: str) -> dict[str, str]:
    """What each speaker says in the whole text, in order; {} where it has no headings.

    What stands before the first heading (title, contents) is nobody's.
    """
    for pattern in _HEADINGS:
        found = list(pattern.finditer(text))
        if len(found) < SPEECHES_MIN:
            continue
        said: dict[str, list[str]] = {}
        ends = [*(heading.start() for heading in found[1:]), len(text)]
        for heading, end in zip(found, ends, strict=True):
            said.setdefault(_name(heading[1]), []).append(text[heading.end() : end].strip())
        if len(said) >= SPEAKERS_MIN:
            return {name: "\n".join(parts) for name, parts in sorted(said.items())}
    return {}


def pieces(text: str, count: int) -> list[str]:
    """The text in so many contiguous pieces, of equal length but for a character."""
    cuts = [len(text) * number // count for number in range(count + 1)]
    return [text[start:end] for start, end in itertools.pairwise(cuts)]


def encode(text: str) -> Codes:
    """Each character's number: its place in ALPHABET, or the one after it."""
    points = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32)
    codes: Codes = _PLACES[np.minimum(points, len(_PLACES) - 1)]
    return codes


def windows(codes: Codes, length: int) -> Codes:
    """(n, length + 1) consecutive windows of a text, each beginning with the last character of the one before.

    A window's first `length` characters are the input, its last `length` the targets. What is left at the end is
    not used, so a text of up to `length` characters gives none.
    """
    count = max(0, (len(codes) - 1) // length)
    starts = np.arange(count) * length
    rows: Codes = codes[starts[:, None] + np.arange(length + 1)]
    return rows


def _name(heading: str) -> str:
    return " ".join(heading.split()).upper()
