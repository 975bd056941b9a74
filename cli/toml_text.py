"""TOML as text: writing tables, reading the value of `--set`, and the line on which a key stands."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?\Z")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")


def write_toml(fields: Mapping[str, Any]) -> str:
    """The fields as TOML: plain keys first, then tables; None is left out."""
    return "\n".join(_table((), fields)).strip() + "\n"


def _table(path: tuple[str, ...], fields: Mapping[str, Any]) -> list[str]:
    lines = [f"{_key(key)} = {_value(value)}" for key, value in fields.items() if not _skipped(value)]
    if path and (lines or not fields):
        lines = ["", f"[{'.'.join(map(_key, path))}]", *lines]
    for key, value in fields.items():
        if isinstance(value, Mapping):
            lines += _table((*path, key), value)
    return lines


def _skipped(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)


def _key(key: str) -> str:
    return key if _BARE.match(key) else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(str(value), ensure_ascii=False)


def read_value(text: str) -> Any:
    """The value in `--set key=value`: as TOML reads it; where it does not, the text itself."""
    try:
        fields = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return fields["value"] if len(fields) == 1 else text


def line_of(source: str, path: tuple[str, ...]) -> int | None:
    """The line (from 1) on which a key stands; that of its nearest table or parent where it has none."""
    while path:
        for number, place in _places(source):
            if place == path:
                return number
        path = path[:-1]
    return None


def _places(source: str) -> list[tuple[int, tuple[str, ...]]]:
    table: tuple[str, ...] = ()
    found = []
    for number, line in enumerate(source.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _split(header[1])
            found.append((number, table))
        elif key := _KEY.match(line):
            found.append((number, table + _split(key[1])))
    return found


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(r'"[^"]*"|\'[^\']*\'|[^.]+', dotted))
