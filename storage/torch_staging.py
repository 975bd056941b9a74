"""Bytes between the host and a device in blocks: through a few pinned buffers, one copied while another is worked on.

Pageable memory would be copied by the driver while the caller waits, and a device's model would stand in the host's
memory once more. Here the host holds SLOTS buffers, whatever the model's size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import accumulate, groupby, pairwise
from types import TracebackType
from typing import Protocol

import torch

SLOTS = 3  # one is digested and written, or filled, and two are on their way
SLOT_BYTES = 16 << 20  # 0.3 to 1.3 ms of PCIe 5 and 3: far above what it costs to begin a copy

Moves = Sequence[tuple[torch.Tensor, torch.Tensor]]  # (target, source), each (n,) uint8
Wait = Callable[[], object]  # returns once a copy is done; may be asked again


class Link(Protocol):
    """The way to a device, and all that is known of it here."""

    slot_bytes: int  # of one buffer, at most

    def carries(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor lies on such a device."""
        ...

    def slot(self, size: int) -> torch.Tensor:
        """A new (size,) uint8 buffer on the host, which the device reads and writes by itself."""
        ...

    def begin(self, moves: Moves) -> Wait:
        """Begin to copy, after all that was asked of the device before; each pair has its end there on one device.

        Until it was waited for, the tensors must live, the targets not be read and the sources not be written to.
        """
        ...


class CudaLink:
    """Implements `Link` on a stream of its own for each device, so that copies go on beside the caller's."""

    slot_bytes = SLOT_BYTES

    def __init__(self) -> None:
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def carries(self, tensor: torch.Tensor) -> bool:
        return tensor.is_cuda

    def slot(self, size: int) -> torch.Tensor:
        return torch.empty(size, dtype=torch.uint8, pin_memory=True)  # torch keeps it for the next ring

    def begin(self, moves: Moves) -> Wait:
        device = next(tensor.device for tensor in moves[0] if tensor.is_cuda)
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream = self._streams[device]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for target, source in moves:
                target.copy_(source, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(stream)
        return done.synchronize


CUDA = CudaLink()


def to_host(
    tensors: Sequence[torch.Tensor], own: Callable[[torch.Tensor], memoryview], link: Link = CUDA
) -> Generator[memoryview, None, None]:
    """The bytes of tensors, one after another, in blocks; each is valid until the next is asked for.

    Before a block is given out the copies of those behind it have begun, as many as there are slots. Small tensors
    share one. A tensor that is not contiguous is copied on its device first. To stop early, close it: that waits.

    Args:
        own: the bytes of a tensor that the link does not carry, asked for when its turn comes.
    """
    with _Ring(link, sum(tensor.nbytes for tensor in tensors if link.carries(tensor))) as ring:
        ahead: deque[torch.Tensor | None] = deque()  # what comes next; None: the oldest copy of the ring
        for load in _loads(tensors, link, ring.size):
            if isinstance(load, torch.Tensor):
                ahead.append(load)
                continue
            while ring.full:
                yield from _given(ahead.popleft(), own, ring)
            slot = ring.slot()
            ring.begin(slot, list(zip(_places(slot, load), load, strict=True)))
            ahead.append(None)
        while ahead:
            yield from _given(ahead.popleft(), own, ring)


@torch.no_grad()
def to_device(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]], link: Link = CUDA) -> None:
    """Copy tensors of the host into others that the link carries: they hold the bytes when this returns.

    Args:
        pairs: (target, source) of equal shape and dtype. A target that is not contiguous is filled from a copy of
            it on its device, one at a time.
    """
    _send([pair for pair in pairs if pair[0].is_contiguous()], link)
    for target, source in pairs:
        if not target.is_contiguous():
            landing = torch.empty(target.shape, dtype=target.dtype, device=target.device)
            _send([(landing, source)], link)
            target.copy_(landing)


def _send(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]], link: Link) -> None:
    with _Ring(link, sum(source.nbytes for _, source in pairs)) as ring:
        for _, run in groupby(pairs, key=lambda pair: pair[0].device):
            targets, sources = zip(*run, strict=True)
            cuts = (_cut(map(_flat, side), ring.size) for side in (targets, sources))
            for parts, load in zip(*cuts, strict=True):
                if ring.full:
                    ring.oldest()
                    ring.release()
                slot = ring.slot()
                places = _places(slot, load)
                for place, part in zip(places, load, strict=True):
                    place.copy_(part)
                ring.begin(slot, list(zip(parts, places, strict=True)))


class _Ring:
    """Slots in turn: one is used again only after it was waited for and released. Left, nothing is on its way."""

    def __init__(self, link: Link, total: int) -> None:
        self._link = link
        self.size = max(1, min(link.slot_bytes, total))
        self._free: list[torch.Tensor] = []
        self._busy: deque[tuple[torch.Tensor, Moves, Wait]] = deque()  # with the moves, so that their tensors live

    @property
    def full(self) -> bool:
        return len(self._busy) == SLOTS

    def slot(self) -> torch.Tensor:
        """One that nothing uses, for `begin`."""
        assert not self.full, "a slot was asked for while all are in use"
        return self._free.pop() if self._free else self._link.slot(self.size)

    def begin(self, slot: torch.Tensor, moves: Moves) -> None:
        self._busy.append((slot, moves, self._link.begin(moves)))

    def oldest(self) -> memoryview:
        """The bytes of the copy that began first, once it is done; they stay until it is released."""
        slot, moves, wait = self._busy[0]
        wait()
        return slot.numpy().data[: sum(len(target) for target, _ in moves)]

    def release(self) -> None:
        """The oldest is done with."""
        self._free.append(self._busy.popleft()[0])

    def __enter__(self) -> _Ring:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, _, wait in self._busy:
            wait()


def _given(one: torch.Tensor | None, own: Callable[[torch.Tensor], memoryview], ring: _Ring) -> Iterator[memoryview]:
    if one is not None:
        yield own(one)
        return
    yield ring.oldest()
    ring.release()


def _loads(tensors: Iterable[torch.Tensor], link: Link, most: int) -> Iterator[torch.Tensor | list[torch.Tensor]]:
    """In order: a tensor that the link does not carry, or parts of carried ones of one device for one slot."""
    for device, run in groupby(tensors, key=lambda tensor: tensor.device if link.carries(tensor) else None):
        if device is None:
            yield from run
        else:
            yield from _cut(map(_flat, run), most)


def _cut(flats: Iterable[torch.Tensor], most: int) -> Iterator[list[torch.Tensor]]:
    """Their bytes in order, in lists of parts that have `most` bytes together; the last one may have fewer."""
    load: list[torch.Tensor] = []
    room = most
    for flat in flats:
        while len(flat):
            load.append(flat[:room])
            flat, room = flat[room:], room - len(load[-1])
            if not room:
                yield load
                load, room = [], most
    if load:
        yield load


def _places(slot: torch.Tensor, load: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Where these parts lie in a slot, one behind the other."""
    ends = list(accumulate(len(part) for part in load))
    return [slot[start:end] for start, end in pairwise([0, *ends])]


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's bytes as (n,) uint8: its own memory where it is contiguous."""
    return tensor.detach().contiguous().view(-1).view(torch.uint8)
