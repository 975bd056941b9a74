"""What `warren job verify` prints: a line a round, and how many are the same."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import click

from ..aggregator.comparing import Comparison, compare
from ..aggregator.record import Record
from .connect import View
from .errors import DONE, FAILED

_STYLES = {"same": "green", "differs": "red", "damaged": "red"}


def print_verdicts(view: View, job: str, *, as_json: bool) -> int:
    """Verify a job. Returns the exit code."""
    from ..aggregator.verifying import Verifying  # torch

    spec = Record(view.store, job).spec()
    with (
        tempfile.TemporaryDirectory(prefix="warren-verify-", ignore_cleanup_errors=True) as scratch,
        Verifying(view.store, spec, Path(scratch) / "spool") as verifying,
    ):
        counts = _print(((one.round, one.state, one.reason) for one in verifying.run()), as_json=as_json)
    trouble = counts["differs"] + counts["damaged"]
    if not as_json:
        click.echo(f"{job}: {_tally(counts)}")
    return FAILED if trouble else DONE


def print_comparison(view: View, job: str, other: str, *, as_json: bool) -> int:
    """Compare two jobs' checkpoints. Returns the exit code."""
    found: Iterable[Comparison] = compare(view.store, other, job)
    counts = _print(((one.round, one.state, one.reason) for one in found), as_json=as_json)
    if not as_json:
        click.echo(sentence(counts, job, other))
    return FAILED if counts["differs"] or not counts["same"] else DONE


def sentence(counts: Counter[str], job: str, other: str) -> str:
    """What a comparison came to."""
    if counts["differs"]:
        return f"{job} and {other} differ in {counts['differs']} of {counts.total()} rounds"
    if not counts["same"]:
        return f"{job} and {other} have no checkpoint to compare"
    gone = f"; {counts['gone']} are gone" if counts["gone"] else ""
    return f"{job} and {other} have the same bytes in {counts['same']} checkpoints{gone}"


def _print(found: Iterable[tuple[int, str, str]], *, as_json: bool) -> Counter[str]:
    counts: Counter[str] = Counter()
    for number, state, reason in found:
        counts[state] += 1
        if as_json:
            click.echo(json.dumps({"round": number, "state": state, "reason": reason}, ensure_ascii=False))
        else:
            shown = click.style(f"{state:<9}", fg=_STYLES.get(state, "yellow"))
            click.echo(f"round {number:<5}  {shown}  {reason}".rstrip())
    return counts


def _tally(counts: Counter[str]) -> str:
    words = {
        "same": "made again with the same bytes",
        "gone": "can't be made again",
        "differs": "DIFFER",
        "damaged": "DAMAGED",
        "unwritten": "not written yet",
    }
    said = [f"{counts[state]} {what}" for state, what in words.items() if counts[state]]
    return ", ".join(said) if said else "no round is frozen yet"
