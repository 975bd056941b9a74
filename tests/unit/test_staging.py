"""Between a device and the host: the right bytes, few buffers, none used again too early, one copied beside another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch import nn

from warren.storage.digests import passing
from warren.storage.tensors import write_blocks
from warren.storage.torch_staging import SLOT_BYTES, SLOTS, Moves, Wait, to_device, to_host
from warren.storage.torch_tensors import TORCH_DTYPES, bytes_of, held, map_file, save
from warren.trainer.kept import KeptModel
from warren.trainer.layout import layout_of, load_state

POISON = 0xAB
SMALL = 64  # bytes of a slot: the tensors here need many

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")


class LateLink:
    """Implements `Link` over the host's memory: a copy is done when it is waited for; until then its target is rubbish.

    So a slot that is read too early, or begun again before it was read, gives rubbish; one that is filled again
    before its copy to the device was waited for gives other bytes there.
    """

    def __init__(self, slot_bytes: int = SMALL, *, beside: Collection[torch.Tensor] = ()) -> None:
        self.slot_bytes = slot_bytes
        self._beside = {id(tensor) for tensor in beside}  # which are the host's
        self.slots: list[torch.Tensor] = []
        self.happened: list[str] = []
        self.on_its_way: dict[int, Moves] = {}
        self.failing: int | None = None  # the copy that breaks off
        self._begun = 0

    def carries(self, tensor: torch.Tensor) -> bool:
        return id(tensor) not in self._beside

    def slot(self, size: int) -> torch.Tensor:
        self.slots.append(torch.full((size,), POISON, dtype=torch.uint8))
        return self.slots[-1]

    def begin(self, moves: Moves) -> Wait:
        number, self._begun = self._begun, self._begun + 1
        self.happened.append(f"begun {number}")
        for target, _ in moves:
            target.fill_(POISON)
        self.on_its_way[number] = moves
        return lambda: self._wait(number)

    def _wait(self, number: int) -> None:
        if number == self.failing:
            self.failing = None
            raise RuntimeError("CUDA error: an illegal memory access")
        for earlier in [one for one in self.on_its_way if one <= number]:
            for target, source in self.on_its_way.pop(earlier):
                target.copy_(source)


def all_kinds() -> dict[str, torch.Tensor]:
    """One of each dtype, below, at and above a slot's size, and the shapes that break readers."""
    torch.manual_seed(1)
    made = {name: (torch.randn(3, 5) * 50).to(dtype) for name, dtype in TORCH_DTYPES.items()}
    made |= {"scalar": torch.tensor(7), "empty": torch.zeros(0, 4), "turned": torch.randn(4, 60).t()}
    made |= {"odd": torch.tensor([True, False, True]), "slot": torch.randn(SMALL // 4), "large": torch.randn(333)}
    return made | {"sliced": torch.randn(40, 3)[::2, 1], "parameter": nn.Parameter(torch.randn(2, 2))}


def consumed(blocks: Iterator[memoryview], link: LateLink) -> list[bytes]:
    """Each block, read where its time ends: just before the next is asked for."""
    found = []
    for number, block in enumerate(blocks):
        found.append(bytes(block))
        link.happened.append(f"consumed {number}")
    return found


def test_a_staged_file_has_the_bytes_of_one_that_is_not(tmp_path: Path) -> None:
    plain = save(tmp_path / "plain", all_kinds(), {"round": "3"})
    link = LateLink()
    assert save(tmp_path / "staged", all_kinds(), {"round": "3"}, link=link) == plain
    assert (tmp_path / "staged").read_bytes() == (tmp_path / "plain").read_bytes()
    assert held(all_kinds(), {"round": "3"}, LateLink()) == (tmp_path / "plain").read_bytes()
    assert len(link.slots) == SLOTS
    assert not link.on_its_way


def test_tensors_of_the_host_and_of_a_device_stand_in_one_file(tmp_path: Path) -> None:
    plain = save(tmp_path / "plain", all_kinds(), {})
    for modulus in (2, 3, 5):
        tensors = all_kinds()
        link = LateLink(beside=list(tensors.values())[::modulus])
        assert save(tmp_path / "mixed", tensors, {}, link=link) == plain
        assert (tmp_path / "mixed").read_bytes() == (tmp_path / "plain").read_bytes()


def test_tensors_of_the_host_are_given_out_as_they_are() -> None:
    tensor = torch.randn(100)
    link = LateLink(beside=[tensor])
    (block,) = to_host([tensor], bytes_of, link)
    assert torch.frombuffer(block, dtype=torch.float32).data_ptr() == tensor.data_ptr()
    assert link.slots == []


def test_the_next_blocks_are_on_their_way_while_one_is_consumed() -> None:
    link, tensors = LateLink(), [torch.randn(50) for _ in range(9)]
    blocks = consumed(to_host(tensors, bytes_of, link), link)
    assert b"".join(blocks) == b"".join(map(bytes_of, tensors))
    place = link.happened.index
    for number in range(len(blocks) - 1):
        assert place(f"begun {number + 1}") < place(f"consumed {number}")
    for number in range(len(blocks) - SLOTS):
        assert place(f"begun {number + SLOTS}") > place(f"consumed {number}"), "a slot was used while it was read"


def test_small_tensors_share_a_slot_and_a_wait() -> None:
    link = LateLink(slot_bytes=1 << 12)
    tensors = [torch.randn(3) for _ in range(40)]
    blocks = consumed(to_host(tensors, bytes_of, link), link)
    assert blocks == [b"".join(map(bytes_of, tensors))]
    assert [slot.nbytes for slot in link.slots] == [40 * 3 * 4], "no larger than what is to be copied"


def test_whatever_the_size_of_the_model_there_are_no_more_slots() -> None:
    for count in (1, 2, 100):
        link = LateLink()
        consumed(to_host([torch.randn(SMALL)] * count, bytes_of, link), link)
        assert len(link.slots) == SLOTS


def test_who_stops_half_way_leaves_no_copy_under_way() -> None:
    link = LateLink()
    blocks = to_host([torch.randn(500)], bytes_of, link)
    next(blocks)
    assert len(link.on_its_way) == SLOTS - 1
    blocks.close()
    assert not link.on_its_way


def test_a_copy_that_fails_leaves_neither_a_file_nor_another_copy_under_way(tmp_path: Path) -> None:
    link = LateLink()
    link.failing = 4
    with pytest.raises(RuntimeError, match="CUDA error"):
        save(tmp_path / "x", {"w": torch.randn(500)}, {}, link=link)
    assert not link.on_its_way
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_leaves_no_copy_under_way() -> None:
    link = LateLink()
    blocks = to_host([torch.randn(50_000)], bytes_of, link)
    with pytest.raises(OSError, match="No space left"), closing(blocks), Path("/dev/full").open("wb") as file:
        write_blocks(file, blocks, passing)
    assert len(link.happened) > SLOTS
    assert not link.on_its_way


def test_a_dtype_that_no_file_holds_is_named_before_anything_is_copied(tmp_path: Path) -> None:
    link = LateLink()
    with pytest.raises(TypeError, match=r"spectrum: torch\.complex64"):
        save(tmp_path / "x", {"spectrum": torch.zeros(2, dtype=torch.complex64)}, {}, link=link)
    assert link.happened == []
    assert list(tmp_path.iterdir()) == []


def pairs_of(tensors: Sequence[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.full_like(tensor, 1), tensor) for tensor in tensors]


def test_tensors_come_to_a_device_whole_through_few_slots() -> None:
    link, pairs = LateLink(), pairs_of(list(all_kinds().values()))
    to_device(pairs, link)
    assert all(torch.equal(target, source) for target, source in pairs)
    assert not link.on_its_way


def test_a_slot_is_filled_again_only_after_its_copy_to_the_device() -> None:
    link, pairs = LateLink(), pairs_of([torch.randn(70) for _ in range(9)])
    to_device(pairs, link)
    assert all(torch.equal(target, source) for target, source in pairs)
    assert len(link.slots) == SLOTS


def test_a_target_on_a_device_that_is_not_contiguous_is_filled_in_its_own_order() -> None:
    target, source = torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last), torch.randn(2, 3, 4, 5)
    to_device([(target, source)], LateLink())
    assert torch.equal(target, source)
    assert target.is_contiguous(memory_format=torch.channels_last)


def test_a_copy_to_the_device_that_fails_leaves_none_under_way() -> None:
    link = LateLink()
    link.failing = 2
    with pytest.raises(RuntimeError, match="CUDA error"):
        to_device(pairs_of([torch.randn(500)]), link)
    assert not link.on_its_way


def a_model() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(3, 40, 3), nn.BatchNorm2d(40), nn.Linear(40, 300))


def test_a_checkpoint_is_put_into_a_model_on_a_device(tmp_path: Path) -> None:
    model = a_model()
    save(tmp_path / "x", layout_of(model).state, {})
    other = nn.Sequential(nn.Conv2d(3, 40, 3), nn.BatchNorm2d(40), nn.Linear(40, 300))
    link = LateLink()
    load_state(layout_of(other), map_file(tmp_path / "x"), link)
    assert link.happened
    assert all(torch.equal(one, other.state_dict()[name]) for name, one in model.state_dict().items())


@needs_cuda
def test_a_file_from_a_gpu_has_the_bytes_of_one_from_the_host(tmp_path: Path) -> None:
    tensors = all_kinds() | {"wide": torch.randn(3, SLOT_BYTES // 4 + 5)}
    there = {name: tensor.detach().cuda() for name, tensor in tensors.items()}
    there["turned"] = tensors["turned"].t().contiguous().cuda().t()
    mixed = {name: there[name] if number % 3 else tensors[name] for number, name in enumerate(tensors)}
    plain = save(tmp_path / "host", tensors, {})
    for number, some in enumerate((there, mixed)):
        assert save(tmp_path / f"gpu{number}", some, {}) == plain
        assert (tmp_path / f"gpu{number}").read_bytes() == (tmp_path / "host").read_bytes()


@needs_cuda
def test_a_file_from_a_gpu_holds_what_was_asked_of_it_before(tmp_path: Path) -> None:
    tensor = torch.zeros(1 << 24, device="cuda")
    torch.cuda._sleep(200_000_000)  # type: ignore[no-untyped-call]  # about 0.1 s, in which a copy that does not wait reads zeros
    tensor.add_(1)
    save(tmp_path / "x", {"w": tensor}, {})
    tensor.zero_()
    assert bool((map_file(tmp_path / "x")["w"] == 1).all())


@needs_cuda
def test_a_model_on_a_gpu_starts_from_a_checkpoint(tmp_path: Path) -> None:
    model = a_model()
    save(tmp_path / "x", layout_of(model).state, {})
    for shape in (torch.contiguous_format, torch.channels_last):
        other = nn.Sequential(nn.Conv2d(3, 40, 3), nn.BatchNorm2d(40), nn.Linear(40, 300)).to(memory_format=shape)
        KeptModel.of(other.cuda()).start_from(map_file(tmp_path / "x"))
        assert all(torch.equal(one, other.state_dict()[name].cpu()) for name, one in model.state_dict().items())
