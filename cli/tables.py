"""Plain tables: aligned columns on a terminal and in a pipe alike, one row a line."""

from __future__ import annotations

from collections.abc import Sequence

import click


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, as_it_is: bool = False) -> None:
    """Print rows below their header, in capitals unless it stands as it is; a number's column stands to the right."""
    widths = [max(len(str(row[place])) for row in (header, *rows)) for place in range(len(header))]
    right = [bool(rows) and all(_is_number(row[place]) for row in rows) for place in range(len(header))]
    shown = header if as_it_is else [name.upper() for name in header]
    click.secho(_line(shown, widths, right), dim=True)
    for row in rows:
        click.echo(_line(row, widths, right))


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    )
    return "  ".join(padded).rstrip()


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True


def size_text(size: float) -> str:
    """`812 B`, `1.2 MB`: decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
