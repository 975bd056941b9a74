"""The process of one tracker: reads rows from stdin, a JSON object a line; says at its end what went wrong.

    python -m warren.aggregator.tracker_main TRACKER [FOLDER]

A tracker's package may hang, crash or print as it likes: it stands in nobody's way here, and can be killed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from .trackers import TRACKERS, Unusable

FAILED, USELESS = 1, 2  # exit codes: worth another try, and not
WORDS_MAX = 400


def main() -> int:
    """Returns the exit code; stdout then holds one line that says why it is not 0."""
    name, folder = sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None
    answer = _keep_stdout()
    try:
        _follow(name, folder, sys.stdin)
    except ImportError as error:
        return _say(answer, f"is not installed here ({error.name or error}): pip install 'warren[track]'", USELESS)
    except Unusable as error:
        return _say(answer, str(error), USELESS)
    except Exception as error:
        return _say(answer, f"{type(error).__name__}: {error}", FAILED)
    return 0


def _follow(name: str, folder: Path | None, rows: TextIO) -> None:
    header: dict[str, Any] = json.loads(rows.readline())
    tracker = TRACKERS[name](header["job"], header["experiment"], header["settings"], folder)
    end = ""
    for line in rows:
        row = json.loads(line)
        if "end" in row:
            end = row["end"]
            break
        tracker.log(row["round"], row["metrics"], time.time() if row["at"] is None else row["at"])
    tracker.close(end)


def _keep_stdout() -> int:
    """stdout for our own line only: what a package prints goes nowhere."""
    answer = os.dup(1)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    return answer


def _say(answer: int, words: str, code: int) -> int:
    os.write(answer, " ".join(words.split())[:WORDS_MAX].encode())
    return code


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a package's own threads and exit hooks are not waited for
