"""Zstandard frames of known content size: one frame a tensor, never opened beyond what the tensor holds."""

from __future__ import annotations

import zstandard

from ..errors import ObjectDamaged


def compressed(data: memoryview | bytes, level: int) -> bytes:
    """One frame."""
    return zstandard.ZstdCompressor(level=level, write_content_size=True).compress(data)


def content(frame: memoryview | bytes, size: int) -> bytes:
    """The frame's content of `size` bytes.

    Raises:
        ObjectDamaged: not one whole frame, or one that says another size; nothing is made room for before.
    """
    try:
        says = zstandard.frame_content_size(frame)
        if says != size:
            raise ObjectDamaged(f"a zstd frame of {says if says >= 0 else 'unknown'} bytes where {size} belong")
        found = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ObjectDamaged(f"not a zstd frame: {str(error)[:120]}") from None
    if len(found) != size:
        raise ObjectDamaged(f"a zstd frame of {len(found)} bytes where {size} belong")
    return found


def bound(size: int) -> int:
    """The most bytes of a frame of so much content (zstd's own compressBound, with room for the frame)."""
    return size + (size >> 8) + 128
