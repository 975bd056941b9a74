"""From a frozen manifest to the checkpoint's bytes: same manifest, same objects, same bytes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..storage.digests import has_digest
from ..storage.documents import Entry, Manifest
from ..storage.errors import ObjectDamaged
from ..storage.job import JobSpec
from ..storage.rules import rule_of
from ..storage.tensors import Header, Written, read_header
from ..storage.torch_tensors import map_file, save
from .combining import Robust, Updates
from .fold import Fold, Incoming, header_of
from .layout import Layout, read_layout
from .pieces import FileSource, Source
from .ranges import TENSORS_AT_A_TIME, Held, Round, ranges, write
from .small import Small
from .squares import squares_of
from .staleness import staleness, weight_of
from .stepping import Stepping, check_finite
from .strategies.average import Tensors
from .strategies.registry import accumulates_double, elementwise, needs_squares
from .threads import cores

ITEMS_AT_ONCE = 1 << 18  # of a model: a larger one goes range by range, so that beside its sum there is little
RUN_BYTES = TENSORS_AT_A_TIME * 4 * ITEMS_AT_ONCE  # of `ranges`


@dataclass(frozen=True, slots=True)
class Start:
    """The checkpoint that a round started from, mapped."""

    layout: Layout
    tensors: Tensors  # by canonical name


def read_start(path: Path) -> Start:
    """A checkpoint's layout and tensors. Raises ObjectDamaged, ObjectMissing."""
    header = read_header(path)
    layout = read_layout(header, checkpoint=True)
    mapped = map_file(path, header)
    return Start(layout, {name: mapped[name] for name in layout.tensors})


def fold_for(spec: JobSpec, layout: Layout) -> Fold:
    """The sum that a job's rounds are folded in: make it once, `reset` it from round to round.

    Args:
        layout: the checkpoint's.
    """
    return Fold(layout.of_update(rule_of(spec).sends), double=accumulates_double(spec))


def write_checkpoint(
    spec: JobSpec,
    manifest: Manifest,
    base_path: Path | None,
    optimizer_path: Path | None,
    update_path: Callable[[Entry], Path],
    fold: Fold | None,
    out: Path,
    optimizer_out: Path,
    *,
    examined: Collection[str] = (),
    small: Mapping[tuple[str, str], Small] | None = None,
    open_update: Callable[[Entry], Source] | None = None,
) -> tuple[Written, Written | None]:
    """Write the checkpoint that a manifest implies and, where the strategy keeps state, the optimizer's file.

    Args:
        base_path: the checkpoint of the round before; None for round 0, whose one update is the model.
        optimizer_path: the optimizer's file beside it, where there is one.
        update_path: where an entry's file lies; called once each, as they are folded.
        fold: what was folded ahead. Used where it is the beginning of the manifest's list, else started over;
            it comes back spent.
        out, optimizer_out: the files to write; what stands there is written over, and nobody may have it mapped.
        examined: digests of files that this process has read whole already; the others are checked here.
        small: some of these, in memory, by client and attempt.
        open_update: gives the update of an entry, checked, for a robust reducer, which needs all at a time; not
            given: the files.

    Raises:
        ObjectMissing, ObjectDamaged: a frozen object is not there, or not as it was frozen.
        NotFinite: the new model holds NaN or infinite values.
    """
    assert manifest.entries, "a manifest without an update is no round"
    if base_path is None:
        entry = manifest.entries[0]
        return _write_first(checked(entry, update_path(entry), examined), out), None
    start = read_start(base_path)
    layout = start.layout.of_update(rule_of(spec).sends)
    opened = open_update or (lambda entry: FileSource(checked(entry, update_path(entry), examined)))
    squares = None
    if spec.reducer.name == "average":

        def source(entry: Entry) -> Path | Small:
            return (small or {}).get((entry.client, entry.attempt)) or checked(entry, update_path(entry), examined)

        averages = _averages(spec, manifest, layout, fold, source)
        if needs_squares(spec):
            flat = {name: averages[name].view(-1) for name in layout.trainable}
            updates = gather(spec, manifest, FileSource(base_path), layout, opened)
            squares = squares_of(updates, lambda piece: flat[piece.name][piece.start : piece.stop])
    else:
        averages = Robust(spec, manifest.round, gather(spec, manifest, FileSource(base_path), layout, opened)).all()
    stepping = Stepping(spec, manifest, start.layout, squares)
    if elementwise(spec) and sum(map(torch.Tensor.numel, averages.values())) > ITEMS_AT_ONCE:
        before, kept = FileSource(base_path), state_source(spec, optimizer_path)
        round = Round(spec, before, start.layout, Held(averages), kept, stepping)
        runs = ranges(start.layout, RUN_BYTES, double=accumulates_double(spec))
        return write(round, runs, out, optimizer_out, ahead=cores())
    state, new = stepping.step(start.tensors, averages, _state(spec, optimizer_path))
    check_finite(new)
    written_state = None
    if state:
        written_state = save(optimizer_out, state, {"format": "pt", "strategy": spec.strategy.name}, over=True)
    return _write(start.layout, new, out), written_state


def _write_first(path: Path, out: Path) -> Written:
    layout = read_layout(read_header(path), checkpoint=False)
    return _write(layout, map_file(path), out)


def _write(layout: Layout, tensors: Tensors, out: Path) -> Written:
    everywhere = {alias: tensors[name] for alias, name in layout.tied.items()}
    return save(out, tensors | everywhere, layout.metadata(), over=True)


def _averages(
    spec: JobSpec,
    manifest: Manifest,
    layout: Layout,
    fold: Fold | None,
    source: Callable[[Entry], Path | Small],
) -> Tensors:
    fold = fold or fold_for(spec, layout)
    order = tuple((entry.client, entry.attempt) for entry in manifest.entries)
    if fold.spent or fold.folded != order[: len(fold.folded)]:
        fold.reset()
    left = manifest.entries[len(fold.folded) :]
    return fold.result(_incoming(spec, manifest, left, layout, source))


def _incoming(
    spec: JobSpec,
    manifest: Manifest,
    entries: tuple[Entry, ...],
    layout: Layout,
    source: Callable[[Entry], Path | Small],
) -> Iterator[Incoming]:
    for entry in entries:
        update = source(entry)
        _check_layout(entry, header_of(update), layout)
        yield Incoming(entry.client, entry.attempt, update, weight_of(spec, entry, staleness(manifest, entry)))


def gather(
    spec: JobSpec, manifest: Manifest, base: Source, layout: Layout, open_update: Callable[[Entry], Source]
) -> Updates:
    """A round's updates side by side, none of them in memory. Raises ObjectMissing, ObjectDamaged."""
    sources = []
    for entry in manifest.entries:
        sources.append(open_update(entry))
        _check_layout(entry, sources[-1].header, layout)
    examples = [entry.examples for entry in manifest.entries]
    return Updates(sources, examples, base, layout, spec.update == "weights", accumulates_double(spec))


def _check_layout(entry: Entry, header: Header, layout: Layout) -> None:
    difference = read_layout(header, checkpoint=False).same_as(layout)
    if difference:
        raise ObjectDamaged(f"update of {entry.client} ({entry.attempt}): {difference}")


def checked(entry: Entry, path: Path, examined: Collection[str]) -> Path:
    """The file of an entry, once it is known to be the frozen one. Raises ObjectDamaged."""
    if entry.digest not in examined and not has_digest(path, entry.digest):
        raise ObjectDamaged(f"update of {entry.client} ({entry.attempt}) is not the one that was frozen")
    return path


def _state(spec: JobSpec, path: Path | None) -> Tensors | None:
    header = state_header(spec, path)
    return map_file(path, header) if path is not None and header is not None else None


def state_source(spec: JobSpec, path: Path | None) -> Source | None:
    """The strategy's state to read parts of, as `state_header` has it."""
    header = state_header(spec, path)
    return FileSource(path, header) if path is not None and header is not None else None


def state_header(spec: JobSpec, path: Path | None) -> Header | None:
    """Of the strategy's state; None where it starts: in round 1, or in a fork that changed the strategy."""
    header = None if path is None else read_header(path)
    return header if header is not None and header.metadata.get("strategy") == spec.strategy.name else None
