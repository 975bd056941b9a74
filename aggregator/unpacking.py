"""An update as a plain file, whatever it travelled as: fold, reducers and verify see ordinary tensors.

Where a job compresses its updates the plain file takes the stored one's place in the spool. It follows from the
stored one alone, so that it is the same when it is made again: after a crash, to verify, for another range.
"""

from __future__ import annotations

from pathlib import Path

from ..storage.codecs.forms import Form
from ..storage.codecs.packing import packed_bytes_max, unpack_file
from ..storage.digests import has_digest
from ..storage.errors import ObjectDamaged
from ..storage.job import JobSpec
from ..storage.rules import rule_of
from ..storage.tensors import Header, read_header
from .layout import Layout, read_layout
from .spool import Spool, file_name

HEADER_ALLOWANCE = 1 << 20  # bytes by which an update's header may exceed the checkpoint's


def packed(spec: JobSpec, round_number: int) -> bool:
    """Whether updates of this round are stored packed; the initial model never is."""
    return spec.compress.used and round_number > 0


def bytes_max(base: Header, spec: JobSpec) -> int:
    """The most bytes that a stored update to this base may have."""
    if not spec.compress.used:
        return base.size * (1 + len(rule_of(spec).sends)) + HEADER_ALLOWANCE
    layout = read_layout(base, checkpoint=True).of_update(rule_of(spec).sends)
    return packed_bytes_max(spec.compress, _forms(layout), layout.trainable, base.data_start)


def unpack(stored: Path, header: Header, spec: JobSpec, base: Header, out: Path) -> None:
    """Write the plain file of a stored update. Raises ObjectDamaged: it is none of this job and model; named."""
    layout = read_layout(base, checkpoint=True).of_update(rule_of(spec).sends)
    unpack_file(stored, header, spec.compress, _forms(layout), layout.trainable, out)


def update_file(
    spool: Spool, spec: JobSpec, round_number: int, key: str, *, size: int, digest: str, base: Header | None
) -> Path:
    """A frozen update as a plain file. Where it is packed its digest is checked here, as the plain file has another.

    Args:
        base: the header of the checkpoint that the round started from; None in round 0.

    Raises:
        ObjectMissing, ObjectDamaged: it is not there, or not the one that was frozen.
    """
    path = spool.path(key, size)
    if not packed(spec, round_number) or spool.replaced(key):
        return path
    assert base is not None, "only round 0 has no base"
    if not has_digest(path, digest):
        raise ObjectDamaged(f"{key} is not the update that was frozen")
    out = plain_path(spool, key)
    unpack(path, read_header(path), spec, base, out)
    spool.replace(key, out)
    return out


def plain_path(spool: Spool, key: str) -> Path:
    """Where the plain file of this update goes."""
    return spool.own("plain~" + file_name(key))


def _forms(layout: Layout) -> list[Form]:
    return [Form(tensor.name, tensor.dtype, tensor.shape) for tensor in layout.tensors.values()]
