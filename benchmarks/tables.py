"""Writes the tables of docs/performance.md from the results that lie in `results/`: python benchmarks/tables.py"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import control_path
import fold
import fold_memory
import gradient_step
import many_clients
import peers
import report
import round_overhead
import targets
import virtual_clients

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


def rounds(found: dict[str, Any]) -> str:
    load = [row["machine"]["load_average"][0] for row in found["rows"]]
    spread = f"Load of the machine as the rows began: {min(load):.0f} to {max(load):.0f}."
    return f"{round_overhead.as_table(found['rows'])}\n\n{_measured(found)} {spread}"


def control(found: dict[str, Any]) -> str:
    taken = report.shown(found["first_job_taken_seconds"])
    first = f"Submit to first round job taken: {taken} s."
    return f"{control_path.as_table(found['rows'])}\n\n{first}\n\n{_measured(found)}"


def mnist(found: dict[str, Any]) -> str:
    reached = "not reached" if found["rounds_to_97"] is None else f"{found['rounds_to_97']:.1f}"
    rows = [["Warren", reached, f"{found['best_accuracy']:.2%}", report.shown(found["seconds_a_round"])]]
    rows += [["McMahan et al. 2017", str(found["paper"]), "", ""]]
    columns = ("", "rounds to 97 %", "best of 100 rounds", "seconds a round")
    return f"{report.table(columns, rows)}\n\n{_measured(found)}"


def tuning(found: dict[str, Any]) -> str:
    scores = found["validation_accuracy"]
    rows = [[rate, *(f"{score:.4f}" for score in scores[rate])] for rate in scores]
    return report.table(("rate", *(f"after {number} rounds" for number in found["rounds"])), rows)


def virtual(found: dict[str, Any]) -> str:
    row = found["rows"][-1]
    return f"{virtual_clients.as_table(found['rows'])}\n\n{_measured(row)}"


def folds(found: dict[str, Any]) -> str:
    return f"{fold.as_table(found['parts'])}\n\n{_measured(found)}"


def steps(found: dict[str, Any]) -> str:
    return f"{gradient_step.as_table(found['rows'])}\n\n{_measured(found)}"


def others(found: dict[str, Any]) -> str:
    rows = found["rows"]
    load = [row["machine"]["load_average"][0] for row in rows]
    spread = f"Load of the machine as each began: {min(load):.0f} to {max(load):.0f}."
    return f"{peers.as_table(rows, report.rows('round_overhead'))}\n\n{_measured(rows[0])} {spread}"


def memory(found: dict[str, Any]) -> str:
    return f"{fold_memory.as_table(found['rows'])}\n\n{_measured(found)}"


def many(found: dict[str, Any]) -> str:
    return f"{many_clients.as_table(found['rows'])}\n\n{_measured(found)}"


def _measured(found: dict[str, Any]) -> str:
    about = found["machine"]
    busy = f"others kept {about['others_busy_percent']:.0f} % of the machine busy before it began"
    return f"{about['cores']} cores, {about['cpu']}, {about['at'][:10]}; {busy}, load {about['load_average'][0]:.1f}."


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "round_overhead": rounds,
    "control_path": control,
    "virtual_clients": virtual,
    "mnist_2nn": mnist,
    "mnist_2nn_tuning": tuning,
    "fold_memory": memory,
    "many_clients": many,
    "fold": folds,
    "gradient_step": steps,
    "peers": others,
}


def put(text: str, name: str, block: str) -> str:
    """The page with this block in its place."""
    whole = f"<!-- {name} -->\n{block}\n<!-- end -->"
    return re.sub(rf"<!-- {name} -->.*?<!-- end -->", lambda _: whole, text, flags=re.DOTALL)


def main() -> None:
    text = PAGE.read_text()
    found = {}
    for name in TABLES:
        path = report.RESULTS / f"{name}.json"
        if path.exists():
            found[name] = json.loads(path.read_text())
            text = put(text, name, TABLES[name](found[name]))
    PAGE.write_text(put(text, "targets", targets.as_table(found)))


if __name__ == "__main__":
    main()
