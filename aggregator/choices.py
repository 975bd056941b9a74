"""Options of strategies and reducers: types, bounds, and the words that refuse a wrong one. No torch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..storage.errors import SpecInvalid

Value = bool | int | float | str | list[bool | int | float | str]


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its default (None: none, it must be given or the strategy finds it) and its bounds."""

    default: Value | None
    least: float = 0.0
    below: float = float("inf")
    open: bool = False  # the least value itself is refused too
    choices: tuple[str, ...] = ()
    length: int = 0  # of a list of numbers

    @property
    def says(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            return " or ".join(f'"{choice}"' for choice in self.choices)
        if isinstance(self.default, bool):
            return "true or false"
        least = f"above {self.least:g}" if self.open else f"at least {self.least:g}"
        bounds = least if self.below == float("inf") else f"{least} and below {self.below:g}"
        return f"a list of {self.length} numbers, each {bounds}" if self.length else f"a number {bounds}"

    def accepts(self, value: Value) -> bool:
        """Whether the value is of the right type and within bounds."""
        if self.choices:
            return isinstance(value, str) and value in self.choices
        if isinstance(self.default, bool):
            return isinstance(value, bool)
        numbers = value if isinstance(value, list) else [value]
        if isinstance(value, list) != bool(self.length) or len(numbers) != (self.length or 1):
            return False
        return all(self._within(number) for number in numbers)

    def _within(self, number: Value) -> bool:
        if isinstance(number, bool) or not isinstance(number, int | float):
            return False
        return (self.least < number if self.open else self.least <= number) and number < self.below


def rate(default: float | None) -> Option:
    return Option(default, open=True)


def decay(default: float) -> Option:
    return Option(default, below=1)


def check_options(section: str, name: str, table: Mapping[str, Option], options: Mapping[str, Value]) -> None:
    """See that each option is in the table and within its bounds. Raises SpecInvalid."""
    for key, value in options.items():
        if key not in table:
            raise SpecInvalid(f"{section}.{key}: {name} has no such option{nearest(key, table)}")
        if not table[key].accepts(value):
            raise SpecInvalid(f"{section}.{key}: must be {table[key].says} (got {str(value)[:80]!r})")


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that names what was probably meant."""
    names = sorted(known)
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    if not names:
        return "."
    return f". Did you mean {close[0]!r}?" if close else f"; there are {', '.join(names)}."
