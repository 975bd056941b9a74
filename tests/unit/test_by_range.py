"""A model that is folded range by range gives the bytes of the whole fold, whatever the ranges."""

from __future__ import annotations

import itertools
import json
import re
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warren.aggregator import checkpoint, combining, ranges
from warren.aggregator.by_range import write_ranges
from warren.aggregator.checkpoint import write_checkpoint
from warren.aggregator.layout import read_layout
from warren.aggregator.pieces import FileSource
from warren.aggregator.stepping import NotFinite
from warren.aggregator.strategies.options import ELEMENTWISE, STRATEGIES, TORCH
from warren.storage.documents import Entry, Manifest
from warren.storage.errors import StorageUnavailable
from warren.storage.job import JobSpec, make_spec
from warren.storage.range_file import RangeFile
from warren.storage.tensors import read_header
from warren.storage.torch_tensors import bytes_of, row_of, save

CLIENTS = 5
SHAPES: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
    "a.big": (torch.float32, (37, 31)),
    "b.half": (torch.bfloat16, (501,)),
    "c.none": (torch.float32, (0, 3)),
    "d.one": (torch.float32, ()),
    "e.wide": (torch.float64, (70,)),
    "m.mean": (torch.float32, (9,)),
    "n.count": (torch.int64, ()),
    "o.mask": (torch.bool, (5,)),
}
TRAINED = ["a.big", "b.half", "c.none", "d.one", "e.wide"]
SAID = {"trainable": json.dumps(TRAINED), "tied": '{"z.tied": "b.half"}'}


def spec(
    update: str = "weights", name: str = "fedavg", reducer: dict[str, Any] | None = None, **options: Any
) -> JobSpec:
    task = {"name": "t", "file": "t.py", "digest": "0" * 64}
    strategy = {"name": name, "options": options}
    fields = {"job": "j", "task": task, "clients": CLIENTS, "update": update, "strategy": strategy}
    return make_spec({**fields, "reducer": reducer or {}})


def tensors(seed: int) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    made = {
        name: torch.randn(shape, generator=chance, dtype=torch.float64).to(dtype)
        for name, (dtype, shape) in SHAPES.items()
    }
    return made | {"n.count": torch.tensor(seed), "o.mask": torch.rand(5, generator=chance) > 0.5}


class Rounds:
    """Two rounds' files: what each starts from and is made of. Both ways of folding write from the same."""

    def __init__(self, folder: Path, sends: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.entries, self.paths = [], {}
        for client in range(CLIENTS):
            made = tensors(client)
            made |= {f"warren/{group}/{name}": tensors(50 + client)[name] for group in sends for name in TRAINED}
            written = save(folder / f"c{client}", made, SAID)
            entry = Entry(
                client=f"c{client}",
                source="pool.p",
                attempt="a",
                digest=written.digest,
                terms={"a": 1.0 + client, "loss": 2.0, "distance": 0.5},
                size=written.size,
                examples=3 + client,
            )
            self.entries.append(entry)
            self.paths[entry.client] = folder / f"c{client}"
        save(folder / "init", tensors(99), SAID)
        first = Manifest(job="j", round=0, entries=(self.entries[0],))
        self.base, self.ranged_base = folder / "base", folder / "base.ranged"
        init = lambda entry: folder / "init"  # noqa: E731
        known = [self.entries[0].digest]
        self.whole_first, _ = write_checkpoint(
            spec(), first, None, None, init, None, self.base, folder / "no", examined=known
        )
        opened = lambda entry: FileSource(folder / "init")  # noqa: E731
        self.ranged_first, _ = write_ranges(spec(), first, None, None, opened, self.ranged_base, folder / "no", 1)

    def whole(self, job: JobSpec, number: int, base: Path, state: Path | None) -> tuple[Any, Any]:
        manifest = Manifest(job="j", round=number, entries=tuple(self.entries))
        out, state_out = self.folder / f"whole{number}", self.folder / f"whole{number}.state"
        return write_checkpoint(job, manifest, base, state, lambda e: self.paths[e.client], None, out, state_out)

    def ranged(self, job: JobSpec, number: int, base: Path, state: Path | None, bytes_max: int = 1) -> tuple[Any, Any]:
        manifest = Manifest(job="j", round=number, entries=tuple(self.entries))
        out, state_out = self.folder / f"ranged{number}", self.folder / f"ranged{number}.state"
        opened = lambda entry: FileSource(self.paths[entry.client])  # noqa: E731
        return write_ranges(job, manifest, base, state, opened, out, state_out, bytes_max)

    def held(self, job: JobSpec, number: int, base: Path, state: Path | None, bytes_max: int) -> tuple[Any, Any]:
        """The sum whole in memory, and the step from it range by range."""
        manifest = Manifest(job="j", round=number, entries=tuple(self.entries))
        out, state_out = self.folder / f"held{number}", self.folder / f"held{number}.state"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoint, "ITEMS_AT_ONCE", 0)
            patch.setattr(checkpoint, "RUN_BYTES", bytes_max)
            return write_checkpoint(job, manifest, base, state, lambda e: self.paths[e.client], None, out, state_out)

    def agree(self, job: JobSpec, bytes_max: int = 1) -> None:
        """Two rounds, the second from the first's model and state, all ways."""
        base, state = self.base, None
        for number in (1, 2):
            whole = self.whole(job, number, base, state)
            assert self.ranged(job, number, base, state, bytes_max) == whole, f"round {number}"
            assert self.held(job, number, base, state, bytes_max) == whole, f"round {number}"
            base = self.folder / f"whole{number}"
            state = self.folder / f"whole{number}.state" if whole[1] else None


@pytest.fixture
def rounds(tmp_path: Path) -> Rounds:
    return Rounds(tmp_path)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of 256 items and blocks that fit into them."""
    for module in (ranges, combining):
        monkeypatch.setattr(module, "BLOCK_ITEMS_MAX", 256)


OPTIONS: dict[str, dict[str, Any]] = {name: {"lr": 0.5} for name in TORCH} | {
    "fedavgm nesterov": {"lr": 0.7, "nesterov": True},
    "sgd with momentum": {"lr": 0.5, "momentum": 0.9, "nesterov": True},
    "adam amsgrad": {"lr": 0.5, "amsgrad": True},
    "fedavg with ema": {"ema": 0.9},
    "fedadam with ema": {"ema": 0.9},
    "fedadam in float64": {"accumulate": "float64"},
}
SENDING = {"scaffold": ("dc",)}
WHOLE_ONLY = {name for name in STRATEGIES if name not in ELEMENTWISE}


@pytest.mark.parametrize("case", [*(name for name in STRATEGIES if name not in WHOLE_ONLY), *OPTIONS])
@pytest.mark.parametrize("update", ["weights", "delta"])
def test_each_server_optimizer_gives_the_bytes_of_the_whole_fold(
    tmp_path: Path, small: None, case: str, update: str
) -> None:
    rounds = Rounds(tmp_path, SENDING.get(case, ()))
    rounds.agree(spec(update, case.split()[0], **OPTIONS.get(case, {})))


@pytest.mark.parametrize("name", ["fedavg", "sgd", "adam"])
def test_gradients_too(rounds: Rounds, small: None, name: str) -> None:
    rounds.agree(spec("gradients", name, lr=0.3) if name != "fedavg" else spec("gradients"))


@pytest.mark.parametrize("reducer", [{"name": "median"}, {"name": "krum", "f": 1}, {"name": "norm-clipping"}])
def test_robust_reducers_too(rounds: Rounds, small: None, reducer: dict[str, Any]) -> None:
    rounds.agree(spec("weights", "fedadam", reducer))


def test_a_range_may_hold_nothing_that_is_trained(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "BLOCK_ITEMS_MAX", 4)  # torch's optimizers take no empty list
    rounds.agree(spec("weights", "adam", lr=0.5))


@given(bytes_max=st.integers(1, 200_000))
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_size_of_range_gives_the_same_bytes(rounds: Rounds, small: None, bytes_max: int) -> None:
    rounds.agree(spec("weights", "fedyogi"), bytes_max)


def test_the_first_checkpoint_is_copied_to_the_same_bytes(rounds: Rounds) -> None:
    assert rounds.ranged_first == rounds.whole_first
    assert rounds.base.read_bytes() == rounds.ranged_base.read_bytes()


@given(bytes_max=st.integers(0, 1 << 20), most=st.sampled_from([1, 64, 100]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ranges_hold_every_item_once_and_never_a_tensor_twice(rounds: Rounds, bytes_max: int, most: int) -> None:
    layout = read_layout(read_header(rounds.base), checkpoint=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "BLOCK_ITEMS_MAX", most)
        runs = list(ranges.ranges(layout, bytes_max))
    for run in runs:
        assert len({piece.name for piece in run}) == len(run)
    for name, (_, shape) in SHAPES.items():
        parts = [piece for run in runs for piece in run if piece.name == name]
        assert parts[0].start == 0
        assert parts[-1].stop == torch.Size(shape).numel()
        assert all(before.stop == after.start for before, after in itertools.pairwise(parts))
        assert all(part.start % most == 0 for part in parts)


def test_a_model_that_is_not_finite_leaves_no_file(rounds: Rounds) -> None:
    with pytest.raises(NotFinite):
        rounds.ranged(spec("gradients", "sgd", lr=1e38, weight_decay=1e5), 1, rounds.base, None)
    assert not (rounds.folder / "ranged1").exists()
    assert not (rounds.folder / "ranged1.state").exists()


def test_nor_does_one_whose_sum_lies_in_memory(rounds: Rounds) -> None:
    with pytest.raises(NotFinite):
        rounds.held(spec("gradients", "sgd", lr=1e38, weight_decay=1e5), 1, rounds.base, None, 1)
    assert not (rounds.folder / "held1").exists()
    assert not (rounds.folder / "held1.state").exists()


def test_a_file_written_in_any_order_has_the_canonical_bytes(tmp_path: Path) -> None:
    made = tensors(3)
    plain = save(tmp_path / "plain", made, SAID)
    with RangeFile(tmp_path / "ranged", [row_of(name, tensor)[:3] for name, tensor in made.items()], SAID) as file:
        for name, tensor in reversed(made.items()):
            flat = tensor.reshape(-1)
            for start in reversed(range(0, len(flat), 100)):
                file.write(name, start, bytes_of(flat[start : start + 100]))
    assert file.written() == plain
    assert (tmp_path / "ranged").read_bytes() == (tmp_path / "plain").read_bytes()


def test_it_may_be_written_over_a_longer_file(tmp_path: Path) -> None:
    made = tensors(3)
    plain = save(tmp_path / "plain", made, SAID)
    before = tmp_path / "ranged"
    before.write_bytes(b"\xff" * (plain.size + 10_000))
    number = before.stat().st_ino
    with RangeFile(before, [row_of(name, tensor)[:3] for name, tensor in made.items()], SAID) as file:
        for name, tensor in made.items():
            file.write(name, 0, bytes_of(tensor.reshape(-1)))
    assert file.written() == plain
    assert before.read_bytes() == (tmp_path / "plain").read_bytes()
    assert before.stat().st_ino == number


def test_what_lay_there_before_never_stands_for_an_item_that_was_not_written(tmp_path: Path) -> None:
    made = tensors(3)
    with RangeFile(tmp_path / "ranged", [row_of(name, tensor)[:3] for name, tensor in made.items()], SAID) as file:
        for name, tensor in [*made.items()][1:]:
            file.write(name, 0, bytes_of(tensor.reshape(-1)))
    with pytest.raises(AssertionError, match=re.escape(next(iter(made)))):
        file.written()


def test_a_disk_that_takes_no_more_is_said_in_our_words_from_the_first_byte_on(tmp_path: Path) -> None:
    made, before = tensors(3), resource.getrlimit(resource.RLIMIT_FSIZE)
    file = RangeFile(tmp_path / "ranged", [row_of(name, tensor)[:3] for name, tensor in made.items()], SAID)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(StorageUnavailable, match="ranged: File too large"), file:
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "ranged").exists()
