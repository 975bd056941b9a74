"""The running mean of a model (`strategy.ema`) as a model's file of its own. Imports no torch."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from ..storage import keys
from ..storage.errors import ObjectDamaged, ObjectMissing
from ..storage.objects import OBJECT_BYTES_MAX
from ..storage.pages import map_pages
from ..storage.tensors import Form, Header, read_header, write_each
from .checkpoints import fetch_checkpoint
from .connect import View
from .errors import CliError, UsageMistake

PREFIX = "ema/"  # as aggregator/strategies/ema.py writes it into the optimizer's file


def fetch_running_mean(view: View, job: str, which: str, output: Path | None) -> Path:
    """Write the mean that was kept up to a round: the round's model, with what is trained of it replaced.

    Args:
        which: final or last (the newest round's), or a round's number.
        output: a file, or a folder; None for a file named after job and round, here.

    Raises:
        UsageMistake, CliError: the job keeps no mean, or no such round; StorageUnavailable: it can't be written.
    """
    if which == "best":
        raise UsageMistake("--ema is of a round: final, last, or its number.")
    with tempfile.TemporaryDirectory(prefix="warren-", ignore_cleanup_errors=True) as folder:
        model = fetch_checkpoint(view, job, "last" if which == "final" else which, Path(folder))
        name = model.stem.removeprefix(f"{job}-")
        state = Path(folder) / "state.safetensors"
        try:
            view.store.fetch(keys.optimizer(job, int(name.removeprefix("round-"))), state, limit=OBJECT_BYTES_MAX)
        except ObjectMissing:
            raise CliError(_none(job)) from None
        path = (
            output
            if output is not None and not output.is_dir()
            else (output or Path()) / f"{job}-{name}-ema.safetensors"
        )
        _write(path, model, state, job)
    return path


def _write(path: Path, model: Path, state: Path, job: str) -> None:
    shown, kept = read_header(model), read_header(state)
    if not any(name.startswith(PREFIX) for name in kept.tensors):
        raise CliError(_none(job))
    pages = {file: memoryview(map_pages(file, header.size)) for file, header in ((model, shown), (state, kept))}
    tied = _tied(shown)

    def place(name: str) -> tuple[Path, Header, str]:
        mean = PREFIX + tied.get(name, name)
        return (state, kept, mean) if mean in kept.tensors else (model, shown, name)

    def data(name: str) -> memoryview:
        file, header, key = place(name)
        spec = header.tensors[key]
        return pages[file][header.data_start + spec.start : header.data_start + spec.end]

    forms: list[Form] = []
    for name in shown.tensors:
        _, header, key = place(name)
        forms.append((name, header.tensors[key].dtype, header.tensors[key].shape))
    write_each(path, forms, data, shown.metadata)


def _tied(header: Header) -> dict[str, str]:
    """Names that stand for another tensor's, by the checkpoint's own metadata."""
    try:
        tied = json.loads(header.metadata.get("tied", "{}"))
    except ValueError as error:
        raise ObjectDamaged(f"metadata tied: {error}") from None
    return {str(alias): str(name) for alias, name in tied.items()} if isinstance(tied, dict) else {}


def _none(job: str) -> str:
    return f"{job} keeps no running mean: a job does that with `[strategy] ema = 0.99`."
