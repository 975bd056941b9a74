"""The checkpoint of a model that is larger than memory: updates are read range by range; the whole fold's bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..storage.documents import Entry, Manifest
from ..storage.job import JobSpec
from ..storage.range_file import RangeFile
from ..storage.rules import BESIDE, rule_of
from ..storage.tensors import FLOATING, Header, Written
from .checkpoint import gather, state_source
from .combining import Robust, Updates
from .fold import exact, fold
from .holding import states_of
from .layout import read_layout
from .pieces import FileSource, Piece, Source, items_of, read_piece
from .ranges import Combined, Round, model_rows, put, ranges, write
from .squares import squares_of
from .staleness import staleness, weight_of
from .stepping import Stepping
from .strategies.registry import accumulates_double, needs_squares
from .threads import everywhere

PART_ITEMS = 1 << 18  # of what one thread folds at a time


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

        everywhere(act, piece.cut(PART_ITEMS))
        return total


def needs_ranges(spec: JobSpec, model: Header, memory_limit: int) -> bool:
    """Whether the whole fold of this model would take more memory than that; see `whole_bytes`."""
    return whole_bytes(spec, model) > memory_limit


def whole_bytes(spec: JobSpec, model: Header) -> int:
    """What folding a model whole takes: sums, model and the strategy's state, each once."""
    wide = 8 if accumulates_double(spec) else 4
    items = sum(items_of(tensor) for tensor in model.tensors.values() if tensor.dtype in FLOATING)
    return model.size + items * wide * (2 + len(rule_of(spec).sends) + states_of(spec))


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
    combined: Combined
    if spec.reducer.name == "average":
        combined = Mean(updates, [weight_of(spec, entry, staleness(manifest, entry)) for entry in manifest.entries])
    else:
        combined = Robust(spec, manifest.round, updates)
    squares = squares_of(updates, combined.piece) if needs_squares(spec) else None
    stepping = Stepping(spec, manifest, layout, squares)
    round = Round(spec, base, layout, combined, state_source(spec, optimizer_path), stepping)
    return write(round, ranges(layout, bytes_max, double=accumulates_double(spec)), out, optimizer_out)


def _copy_first(source: Source, out: Path, bytes_max: int) -> Written:
    """The first checkpoint: the one update's tensors, tied ones under every name."""
    layout = read_layout(source.header, checkpoint=False)
    with RangeFile(out, model_rows(layout), layout.metadata()) as file:
        for run in ranges(layout, bytes_max):
            for piece in run:
                put(file, layout, piece, read_piece(source, piece))
    return file.written()
