"""The checkpoint of a model that is larger than memory: made range by range, with the bytes of the whole fold.

A range is a run of items of a few tensors. What the fold and the server optimizers do to an item depends on that
item alone, of each update, of the model and of the optimizer's state; so ranges can be made one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch

from ..storage.documents import Entry, Manifest
from ..storage.job import JobSpec
from ..storage.range_file import RangeFile
from ..storage.rules import BESIDE, rule_of
from ..storage.tensors import FLOATING, Form, Header, Written
from ..storage.torch_tensors import DTYPE_NAMES, bytes_of
from .checkpoint import Start, check_finite, gather, state_header, step
from .combining import BLOCK_ITEMS_MAX, Robust, Updates
from .fold import exact, fold, pool
from .holding import states_of
from .layout import Layout, read_layout
from .pieces import FileSource, Piece, Source, items_of, read_piece, whole
from .squares import squares_of
from .staleness import staleness, weight_of
from .strategies.average import Squares
from .strategies.registry import accumulates_double, needs_squares

TENSORS_AT_A_TIME = 24  # of a range: sum, model, both states, the step's own, what the heap keeps of the range before
PART_ITEMS = 1 << 18  # of what one thread folds at a time

Tensors = dict[str, torch.Tensor]


class Combined(Protocol):
    """A reducer over the updates of a round."""

    def piece(self, piece: Piece) -> torch.Tensor: ...


class Mean:
    """The weighted mean, with the bits of `Fold`."""

    def __init__(self, updates: Updates, weights: Sequence[float]) -> None:
        self._updates = updates
        self._weights = weights

    def piece(self, piece: Piece) -> torch.Tensor:
        """The mean of these items; integers are those of the first update."""
        updates, spec = self._updates, self._updates.layout.tensors[piece.name]
        if spec.dtype not in FLOATING:
            return read_piece(updates.sources[0], piece)
        total = torch.zeros(piece.items, dtype=updates.result_dtype(spec))
        even = piece.name.startswith(BESIDE)  # counts once for each update, as `Fold` has it
        weights = [1.0 if even else exact(weight, total.dtype) for weight in self._weights]
        whole_weight = 0.0
        for weight in weights:
            whole_weight += weight

        def act(part: Piece) -> None:
            place = total[part.start - piece.start : part.stop - piece.start]
            for source, weight in zip(updates.sources, weights, strict=True):
                fold(place, [read_piece(source, part)], [weight])
            place.div_(whole_weight)

        for _ in pool().map(act, piece.cut(PART_ITEMS)):
            pass
        return total


@dataclass(frozen=True, slots=True)
class Round:
    """What a round's checkpoint is made of, none of it in memory."""

    spec: JobSpec
    manifest: Manifest
    base: Source
    layout: Layout
    combined: Combined
    state: Source | None  # the strategy's, of the round before
    squares: Squares | None = None


def needs_ranges(spec: JobSpec, model: Header, memory_limit: int) -> bool:
    """Whether the whole fold of this model would take more memory than that; see `whole_bytes`."""
    return whole_bytes(spec, model) > memory_limit


def whole_bytes(spec: JobSpec, model: Header) -> int:
    """What folding a model whole takes: sums, model and the strategy's state, each once."""
    wide = 8 if accumulates_double(spec) else 4
    items = sum(items_of(tensor) for tensor in model.tensors.values() if tensor.dtype in FLOATING)
    return model.size + items * wide * (2 + len(rule_of(spec).sends) + states_of(spec))


def ranges(layout: Layout, bytes_max: int, *, double: bool = False) -> Iterator[tuple[Piece, ...]]:
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
def write_ranges(
    spec: JobSpec,
    manifest: Manifest,
    base_path: Path | None,
    optimizer_path: Path | None,
    open_update: Callable[[Entry], Source],
    out: Path,
    optimizer_out: Path,
    bytes_max: int,
) -> tuple[Written, Written | None]:
    """As `checkpoint.write_checkpoint`, within about `bytes_max` bytes of memory.

    Raises:
        ObjectMissing, ObjectDamaged: a frozen object is not there, or not as it was frozen.
        NotFinite: the new model holds NaN or infinite values.
    """
    if base_path is None:
        return _copy_first(open_update(manifest.entries[0]), out, bytes_max), None
    base = FileSource(base_path)
    layout = read_layout(base.header, checkpoint=True)
    updates = gather(spec, manifest, base, layout.of_update(rule_of(spec).sends), open_update)
    header = state_header(spec, optimizer_path)
    state = FileSource(optimizer_path, header) if optimizer_path is not None and header is not None else None
    combined: Combined
    if spec.reducer.name == "average":
        combined = Mean(updates, [weight_of(spec, entry, staleness(manifest, entry)) for entry in manifest.entries])
    else:
        combined = Robust(spec, manifest.round, updates)
    squares = squares_of(updates, combined.piece) if needs_squares(spec) else None
    return _write(Round(spec, manifest, base, layout, combined, state, squares), out, optimizer_out, bytes_max)


def _copy_first(source: Source, out: Path, bytes_max: int) -> Written:
    """The first checkpoint: the one update's tensors, tied ones under every name."""
    layout = read_layout(source.header, checkpoint=False)
    with RangeFile(out, _model_rows(layout), layout.metadata()) as file:
        for run in ranges(layout, bytes_max):
            for piece in run:
                _put(file, layout, piece, read_piece(source, piece))
    return file.written()


def _write(round: Round, out: Path, state_out: Path, bytes_max: int) -> tuple[Written, Written | None]:
    layout, rows = round.layout, _state_rows(round)
    said = {"format": "pt", "strategy": round.spec.strategy.name}
    with RangeFile(out, _model_rows(layout), layout.metadata()) as file, RangeFile(state_out, rows, said) as states:
        for run in ranges(layout, bytes_max, double=accumulates_double(round.spec)):
            state, new = _step(round, run)
            check_finite(new)
            for piece in run:
                _put(file, layout, piece, new[piece.name])
            starts = {piece.name: piece.start for piece in run}
            for key, tensor in state.items():
                states.write(key, starts[_parameter(key)] if tensor.dim() else 0, bytes_of(tensor))
    written = file.written()
    if rows:
        return written, states.written()
    state_out.unlink()
    return written, None


def _step(round: Round, run: Sequence[Piece]) -> tuple[Tensors, Tensors]:
    shared = [piece for piece in run if piece.name not in round.layout.local]
    combined = {piece.name: _shaped(round, piece, round.combined.piece(piece)) for piece in shared}
    for name, piece in _beside(round, shared):
        combined[name] = _shaped(round, piece, round.combined.piece(replace(piece, name=name)))
    return _apply(round, run, combined)


def _beside(round: Round, shared: Sequence[Piece]) -> Iterator[tuple[str, Piece]]:
    """What updates carry beside the trained ones of these pieces: its name, and the piece that it is beside."""
    for group in rule_of(round.spec).sends:
        yield from (
            (f"{BESIDE}{group}/{piece.name}", piece) for piece in shared if piece.name in round.layout.trainable
        )


def _apply(round: Round, run: Sequence[Piece], combined: Tensors) -> tuple[Tensors, Tensors]:
    base = {piece.name: _shaped(round, piece, read_piece(round.base, piece)) for piece in run}
    return step(round.spec, round.manifest, Start(round.layout, base), combined, _state(round, run), round.squares)


def _shaped(round: Round, piece: Piece, tensor: torch.Tensor) -> torch.Tensor:
    """A whole tensor as it is, a part of one flat: so only a tensor without dimensions gives state without."""
    spec = round.layout.tensors[piece.name]
    return tensor.view(spec.shape) if piece == whole(spec) else tensor


def _state(round: Round, run: Sequence[Piece]) -> Tensors | None:
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
            found[key] = _shaped(round, piece, part)
    return found


def _state_rows(round: Round) -> list[Form]:
    """The tensors of the state after the round, as a step of one item of each parameter gives them."""
    names = sorted(round.layout.trainable - round.layout.local)
    run = [Piece(name, 0, min(1, items_of(round.layout.tensors[name]))) for name in names]
    still, wide = {}, accumulates_double(round.spec)
    for piece in run:
        spec = round.layout.tensors[piece.name]
        now = read_piece(round.base, piece).to(torch.float64 if wide or spec.dtype == "F64" else torch.float32)
        still[piece.name] = _shaped(round, piece, now if round.spec.update == "weights" else torch.zeros_like(now))
    still |= {name: torch.zeros_like(still[piece.name]) for name, piece in _beside(round, run)}
    state, _ = _apply(round, run, still)
    shapes = {key: round.layout.tensors[_parameter(key)].shape if tensor.dim() else () for key, tensor in state.items()}
    return [(key, DTYPE_NAMES[tensor.dtype], shapes[key]) for key, tensor in state.items()]


def _parameter(key: str) -> str:
    """Whose state it is: keys are `<what>/<parameter>`."""
    return key.partition("/")[2]


def _put(file: RangeFile, layout: Layout, piece: Piece, tensor: torch.Tensor) -> None:
    data = bytes_of(tensor)
    for name in (piece.name, *(alias for alias, name in layout.tied.items() if name == piece.name)):
        file.write(name, piece.start, data)


def _model_rows(layout: Layout) -> list[Form]:
    rows: list[Form] = [(spec.name, spec.dtype, spec.shape) for spec in layout.tensors.values()]
    forms = {name: (dtype, shape) for name, dtype, shape in rows}
    return rows + [(alias, *forms[name]) for alias, name in layout.tied.items()]
