"""Writes the tables of docs/fidelity.md from what is in benchmarks/results/fidelity/.

python benchmarks/fidelity/page.py
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from catalogue import EXPERIMENTS
from experiment import RESULTS, Experiment, Size, load, missing, place_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "fidelity.md"
PICTURES = "../benchmarks/results/fidelity"


def size_of(experiment: Experiment, place: Path) -> Size:
    """The size that the results are of: the full one where anything of it alone is there."""
    found = load(place)
    short = {cell.name for cell in experiment.cells("short", found)}
    full = {cell.name for cell in experiment.cells("full", found)}
    return "full" if found.keys() & (full - short) else "short"


def block(experiment: Experiment) -> str:
    place = place_of(experiment, "short", RESULTS)
    found = load(place)
    if not found:
        return "Not run yet."
    size = size_of(experiment, place)
    left = len(missing(experiment.cells(size, found), found))
    of = f"{len(experiment.cells(size, found)) - left} of {len(experiment.cells(size, found))} cells of the {size} form"
    machine = json.loads(place.read_text())["machine"]
    spent = sum(result.seconds for result in found.values()) / 60
    busy = f"others kept {machine['others_busy_percent']:.0f} % of it busy as the last run began"
    said = f"{of}, {spent:.0f} minutes; {machine['cores']} cores, {machine['cpu']}, {machine['at'][:10]}; {busy}."
    picture = f"\n\n![{experiment.title}]({PICTURES}/{experiment.name}.png)"
    drawn = place.with_suffix(".png").exists()
    return f"{experiment.table(size, found)}\n\n{said}{picture if drawn else ''}"


def put(text: str, name: str, made: str) -> str:
    """The page with this block in its place."""
    return re.sub(rf"<!-- {name} -->.*?<!-- end -->", lambda _: made, text, flags=re.DOTALL)


def main() -> None:
    text = PAGE.read_text()
    for name, experiment in EXPERIMENTS.items():
        made = f"<!-- {name} -->\n{block(experiment)}\n<!-- end -->"
        text = put(text, name, made)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
