"""A round's two files made range by range: a run of items of a few tensors at a time goes through the server's step.

What the averages and the server optimizers do to an item depends on that item alone, of each update, of the model and
of the optimizer's state; so ranges can be made one after the other, or several at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from ..storage.job import JobSpec
from ..storage.range_file import RangeFile
from ..storage.rules import BESIDE, rule_of
from ..storage.tensors import Form, Written
from ..storage.torch_tensors import DTYPE_NAMES, bytes_of
from .combining import BLOCK_ITEMS_MAX
from .layout import Layout
from .pieces import Piece, Source, items_of, read_piece, whole
from .stepping import Stepping, check_finite
from .strategies.registry import accumulates_double
from .threads import pool

TENSORS_AT_A_TIME = 24  # of a range: sum, model, both states, the step's own, what the heap keeps of the range before

Tensors = dict[str, torch.Tensor]
Run = tuple[Piece, ...]
Made = tuple[Tensors, Tensors]  # items of the strategy's state, and of the new model
T = TypeVar("T")
R = TypeVar("R")


class Combined(Protocol):
    """A reducer over the updates of a round."""

    def piece(self, piece: Piece) -> torch.Tensor: ...


class Held:
    """Averages that lie in memory whole: each piece is a view, used up by whoever asks for it."""

    def __init__(self, averages: Mapping[str, torch.Tensor]) -> None:
        self._flat = {name: tensor.view(-1) for name, tensor in averages.items()}

    def piece(self, piece: Piece) -> torch.Tensor:
        return self._flat[piece.name][piece.start : piece.stop]


@dataclass(frozen=True, slots=True)
class Round:
    """What a round's checkpoint is made of."""

    spec: JobSpec
    base: Source
    layout: Layout  # the checkpoint's
    combined: Combined
    state: Source | None  # the strategy's, of the round before
    stepping: Stepping


class _Before(Mapping[str, torch.Tensor]):
    """Items of the model before, read when they are asked for."""

    def __init__(self, round: Round, run: Run) -> None:
        self._round = round
        self._pieces = {piece.name: piece for piece in run}

    def __getitem__(self, name: str) -> torch.Tensor:
        piece = self._pieces[name]
        return _shaped(self._round.layout, piece, read_piece(self._round.base, piece))

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)


def ranges(layout: Layout, bytes_max: int, *, double: bool = False) -> Iterator[Run]:
    """All items of a model, each once, in runs that fit into so many bytes with all that a step needs.

    Tensors are cut at multiples of BLOCK_ITEMS_MAX, where the blocks of robust reducers begin too.
    """
    wide = 8 if double or any(spec.dtype == "F64" for spec in layout.tensors.values()) else 4
    fit = bytes_max // (TENSORS_AT_A_TIME * wide) // BLOCK_ITEMS_MAX * BLOCK_ITEMS_MAX
    items_max = max(BLOCK_ITEMS_MAX, fit)
    run: list[Piece] = []
    for spec in layout.tensors.values():
        for piece in whole(spec).cut(items_max) if items_of(spec) else (whole(spec),):
            if run and sum(part.items for part in run) + piece.items > items_max:
                yield tuple(run)
                run = []
            run.append(piece)
    if run:
        yield tuple(run)


@torch.no_grad()
def write(
    round: Round, runs: Iterable[Run], out: Path, state_out: Path, *, ahead: int = 0
) -> tuple[Written, Written | None]:
    """The checkpoint and the strategy's state, if it keeps any, as files.

    Args:
        runs: all items of the model, each once.
        ahead: so many runs are made by the threads that fold while one is written. 0: each by the caller, one at a
            time, as a reducer needs that works in those threads itself.

    Raises:
        NotFinite: the new model holds NaN or infinite values; there are no files then.
    """
    layout, rows = round.layout, _state_rows(round)
    said = {"format": "pt", "strategy": round.spec.strategy.name}
    with ExitStack() as stack:
        file = stack.enter_context(RangeFile(out, model_rows(layout), layout.metadata()))
        states = stack.enter_context(RangeFile(state_out, rows, said)) if rows else None
        for run, (state, new) in _each(lambda run: _make(round, run), runs, ahead):
            for piece in run:
                put(file, layout, piece, new[piece.name])
            if states is not None:
                _put_state(states, run, state)
    return file.written(), None if states is None else states.written()


def _put_state(states: RangeFile, run: Run, state: Tensors) -> None:
    starts = {piece.name: piece.start for piece in run}
    for key, tensor in state.items():
        states.write(key, starts[_parameter(key)] if tensor.dim() else 0, bytes_of(tensor))


def _each(act: Callable[[T], R], things: Iterable[T], ahead: int) -> Iterator[tuple[T, R]]:
    """Each thing with what comes of it, in order; so many are begun in the threads that fold, and no more."""
    if not ahead:
        for thing in things:
            yield thing, act(thing)
        return
    left = iter(things)
    begun = deque((thing, pool().submit(act, thing)) for thing in islice(left, ahead))
    try:
        while begun:
            thing, result = begun.popleft()
            found = result.result()
            begun.extend((more, pool().submit(act, more)) for more in islice(left, 1))
            yield thing, found
    finally:
        for _, result in begun:  # they work in memory that may be used again
            result.cancel() or result.exception()


@torch.no_grad()
def _make(round: Round, run: Run) -> Made:
    state, new = _step(round, run)
    check_finite(new)
    return state, new


def _step(round: Round, run: Run) -> Made:
    layout = round.layout
    shared = [piece for piece in run if piece.name not in layout.local]
    combined = {piece.name: _shaped(layout, piece, round.combined.piece(piece)) for piece in shared}
    for name, piece in _beside(round, shared):
        combined[name] = _shaped(layout, piece, round.combined.piece(replace(piece, name=name)))
    return round.stepping.step(_Before(round, run), combined, _state(round, run))


def _beside(round: Round, shared: Sequence[Piece]) -> Iterator[tuple[str, Piece]]:
    """What updates carry beside the trained ones of these pieces: its name, and the piece that it is beside."""
    for group in rule_of(round.spec).sends:
        yield from (
            (f"{BESIDE}{group}/{piece.name}", piece) for piece in shared if piece.name in round.layout.trainable
        )


def _shaped(layout: Layout, piece: Piece, tensor: torch.Tensor) -> torch.Tensor:
    """A whole tensor as it is, a part of one flat: so only a tensor without dimensions gives state without."""
    spec = layout.tensors[piece.name]
    return tensor.view(spec.shape) if piece == whole(spec) else tensor


def _state(round: Round, run: Run) -> Tensors | None:
    """The state of these items; what has none of its own, such as a count of steps, whole."""
    if round.state is None:
        return None
    pieces = {piece.name: piece for piece in run}
    found: Tensors = {}
    for key, spec in round.state.header.tensors.items():
        piece = pieces.get(_parameter(key))
        if piece is not None and not spec.shape:
            found[key] = read_piece(round.state, whole(spec)).view(())
        elif piece is not None:
            part = read_piece(round.state, Piece(key, piece.start, piece.stop))
            found[key] = _shaped(round.layout, piece, part)
    return found


def _state_rows(round: Round) -> list[Form]:
    """The tensors of the state after the round, as a step of one item of each parameter gives them."""
    names = sorted(round.layout.trainable - round.layout.local)
    run = tuple(Piece(name, 0, min(1, items_of(round.layout.tensors[name]))) for name in names)
    still, wide = {}, accumulates_double(round.spec)
    for piece in run:
        spec = round.layout.tensors[piece.name]
        now = read_piece(round.base, piece).to(torch.float64 if wide or spec.dtype == "F64" else torch.float32)
        now = now if round.spec.update == "weights" else torch.zeros_like(now)
        still[piece.name] = _shaped(round.layout, piece, now)
    still |= {name: torch.zeros_like(still[piece.name]) for name, piece in _beside(round, run)}
    state, _ = round.stepping.step(_Before(round, run), still, _state(round, run))
    shapes = {key: round.layout.tensors[_parameter(key)].shape if tensor.dim() else () for key, tensor in state.items()}
    return [(key, DTYPE_NAMES[tensor.dtype], shapes[key]) for key, tensor in state.items()]


def _parameter(key: str) -> str:
    """Whose state it is: keys are `<what>/<parameter>`."""
    return key.partition("/")[2]


def put(file: RangeFile, layout: Layout, piece: Piece, tensor: torch.Tensor) -> None:
    """Write these items under every name that they have."""
    data = bytes_of(tensor)
    for name in (piece.name, *(alias for alias, name in layout.tied.items() if name == piece.name)):
        file.write(name, piece.start, data)


def model_rows(layout: Layout) -> list[Form]:
    """A checkpoint's tensors: tied ones under every name."""
    rows: list[Form] = [(spec.name, spec.dtype, spec.shape) for spec in layout.tensors.values()]
    forms = {name: (dtype, shape) for name, dtype, shape in rows}
    return rows + [(alias, *forms[name]) for alias, name in layout.tied.items()]
