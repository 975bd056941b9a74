"""What services write: lines of text, or JSON (`WARREN_LOG=json`), with job, round, client, attempt."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime

FIELDS = ("job", "round", "client", "attempt")


class TextLines(logging.Formatter):
    """`11:20:01 INFO trainer.worker: updated  job=… round=… client=…`"""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        facts = "".join(f" {name}={value}" for name, value in fields_of(record).items())
        line = f"{time} {record.levelname} {record.name.removeprefix('warren.')}: {record.getMessage()}"
        return line + (f" {facts}" if facts else "") + _trace(self, record)


class JsonLines(logging.Formatter):
    """One object a line, UTC times, for machines."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields_of(record),
        }
        if trace := _trace(self, record):
            line["trace"] = trace.strip()
        return json.dumps(line, ensure_ascii=False, default=str)


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """Job, round, client and attempt, where the record names them."""
    found = {name: getattr(record, name, None) for name in FIELDS}
    return {name: value for name, value in found.items() if value not in (None, "")}


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return "\n" + formatter.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""


def start_logging(level: str | None = None) -> None:
    """Write warren's log to stderr, and the warnings of others."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if os.environ.get("WARREN_LOG") == "json" else TextLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    name = (level or os.environ.get("WARREN_LOG_LEVEL") or "INFO").upper()
    logging.getLogger("warren").setLevel(name if name in logging.getLevelNamesMapping() else "INFO")
