"""What is taken in counts as what it is; what is wrong is rejected, and the reason names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from warren.aggregator.intake import EXAMPLES_MAX, Examined, examine, max_bytes
from warren.aggregator.ports import UpdateRejected
from warren.storage.digests import digest_file, lasting, passing
from warren.storage.job import JobSpec, make_spec
from warren.storage.keys import UpdateName
from warren.storage.tensors import Header, read_header
from warren.storage.torch_tensors import save

NAME = UpdateName("digits", 3, "pool.default", "c001", "abc")
TRAINABLE = ["fc.bias", "fc.weight"]


def spec(**fields: Any) -> JobSpec:
    task = {"name": "digits", "file": "digits.py", "digest": "0" * 64}
    return make_spec({"job": "digits", "task": task} | fields)


def metadata(**changes: str) -> dict[str, str]:
    said = {"warren": "1", "job": "digits", "round": "3", "kind": "train", "client": "c001", "attempt": "abc"}
    said |= {"examples": "120", "metrics": '{"loss": 0.5}', "seconds": "1.5", "torch": "2.9", "cpu": "AVX2"}
    said |= {"threads": "1", "trainable": json.dumps(TRAINABLE), "tied": '{"head.weight": "fc.weight"}'}
    return said | changes


def model() -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    return {
        "fc.weight": torch.randn(4, 3),
        "fc.bias": torch.randn(4),
        "norm.mean": torch.randn(3).bfloat16(),
        "norm.count": torch.tensor(9),
    }


@pytest.fixture
def base(tmp_path: Path) -> Header:
    tensors = model() | {"head.weight": model()["fc.weight"]}
    said = {"format": "pt", "trainable": json.dumps(TRAINABLE), "tied": '{"head.weight":"fc.weight"}'}
    save(tmp_path / "base", tensors, said)
    return read_header(tmp_path / "base")


def taken(tmp_path: Path, base: Header | None, tensors: dict[str, torch.Tensor], said: dict[str, str]) -> Examined:
    written = save(tmp_path / "update", tensors, said)
    kind: Any = said["kind"]
    return examine(tmp_path / "update", NAME, kind, spec(), base, written.digest)


def test_a_sound_update_is_what_its_file_says(tmp_path: Path, base: Header) -> None:
    found = taken(tmp_path, base, model(), metadata())
    assert found.digest == digest_file(tmp_path / "update")
    assert found.size == (tmp_path / "update").stat().st_size <= max_bytes(base, spec())
    assert (found.examples, found.metrics) == (120, {"loss": 0.5})
    assert found.facts == {"torch": "2.9", "cpu": "AVX2", "threads": "1", "seconds": "1.5"}


def test_an_update_found_by_listing_needs_no_digest(tmp_path: Path, base: Header) -> None:
    save(tmp_path / "update", model(), metadata())
    found = examine(tmp_path / "update", NAME, "train", spec(), base, None)
    assert found.digest == digest_file(tmp_path / "update", passing)


def test_a_digest_of_either_kind_is_checked_as_what_it_is(tmp_path: Path, base: Header) -> None:
    save(tmp_path / "update", model(), metadata())
    for kind in (lasting, passing):
        told = digest_file(tmp_path / "update", kind)
        assert examine(tmp_path / "update", NAME, "train", spec(), base, told).digest == told
        wrong = told[:-1] + ("0" if told[-1] != "0" else "1")
        with pytest.raises(UpdateRejected, match="the bytes changed on the way"):
            examine(tmp_path / "update", NAME, "train", spec(), base, wrong)


def test_an_initial_model_needs_no_base_and_no_examples(tmp_path: Path) -> None:
    assert taken(tmp_path, None, model(), metadata(kind="init", examples="0")).examples == 0


def test_another_digest_is_named_before_what_it_broke(tmp_path: Path, base: Header) -> None:
    save(tmp_path / "update", model() | {"fc.bias": torch.full((4,), torch.nan)}, metadata())
    with pytest.raises(UpdateRejected, match="digest"):
        examine(tmp_path / "update", NAME, "train", spec(), base, "0" * 64)


@pytest.mark.parametrize("field", ["job", "round", "kind", "client", "attempt", "warren"])
def test_a_file_that_names_another_update_than_its_key_is_rejected(tmp_path: Path, base: Header, field: str) -> None:
    save(tmp_path / "update", model(), metadata(**{field: "7"}))
    with pytest.raises(UpdateRejected, match=f"{field} says '7'"):
        examine(tmp_path / "update", NAME, "train", spec(), base, None)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_values_that_are_not_finite_are_named_with_their_tensor(
    tmp_path: Path, value: float, dtype: torch.dtype
) -> None:
    big = torch.zeros(3, 400_000, dtype=dtype)
    big[2, 399_999] = value
    said = metadata(kind="init", examples="0", trainable='["w"]', tied="{}")
    with pytest.raises(UpdateRejected, match=r"'w' holds (NaN|an infinite value)"):
        taken(tmp_path, None, {"w": big, "a": torch.zeros(5, dtype=dtype)}, said)


def test_values_that_would_overflow_the_sum_are_rejected(tmp_path: Path, base: Header) -> None:
    huge = model() | {"fc.bias": torch.full((4,), 1e30)}
    with pytest.raises(UpdateRejected, match=r"'fc\.bias' holds 1e\+30, too large"):
        taken(tmp_path, base, huge, metadata())
    assert taken(tmp_path, base, huge, metadata(examples="1")).examples == 1


@pytest.mark.parametrize("examples", ["0", "-5", "1.5", "", "12 ", str(EXAMPLES_MAX + 1), "9" * 400, "NaN", "١٢"])
def test_an_absurd_count_of_examples_is_rejected(tmp_path: Path, base: Header, examples: str) -> None:
    with pytest.raises(UpdateRejected, match="examples"):
        taken(tmp_path, base, model(), metadata(examples=examples))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"fc.bias": None}, "'fc.bias'"),
    "unknown": ({"extra": torch.zeros(1)}, "'extra' is not in the model"),
    "shape": ({"norm.mean": torch.zeros(4).bfloat16()}, r"'norm.mean' is BF16 \[4\], the model has BF16 \[3\]"),
    "transposed": ({"fc.weight": torch.zeros(3, 4)}, "'fc.weight' is F32"),
    "dtype": ({"fc.weight": torch.zeros(4, 3).half()}, "'fc.weight' is F16"),
    "tied twice": ({"head.weight": torch.zeros(4, 3)}, "'head.weight' is tied"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_layout_is_named(tmp_path: Path, base: Header, what: str) -> None:
    changes, words = WRONG[what]
    tensors = {name: tensor for name, tensor in (model() | changes).items() if tensor is not None}
    with pytest.raises(UpdateRejected, match=words):
        taken(tmp_path, base, tensors, metadata())


@pytest.mark.parametrize(
    "said",
    [
        {"trainable": "[]"},
        {"trainable": '["norm.count"]'},
        {"trainable": '{"a": 1}'},
        {"trainable": "no json"},
        {"trainable": "[" * 100_000},
        {"tied": "[1]"},
        {"tied": '{"a": "nothing"}'},
        {"tied": "{}"},
        {"metrics": "[" * 20_000},
        {"metrics": "3"},
        {"metrics": '{"x": 1' + " " * 70_000 + "}"},
    ],
)
def test_metadata_that_does_not_fit_is_rejected(tmp_path: Path, base: Header, said: dict[str, str]) -> None:
    with pytest.raises(UpdateRejected, match=r"train|tied|metrics"):
        taken(tmp_path, base, model(), metadata(**said))


def test_an_initial_model_without_anything_to_train_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UpdateRejected, match="no trainable"):
        taken(tmp_path, None, model(), metadata(kind="init", trainable="[]", tied="{}"))


def test_metrics_that_are_no_finite_numbers_are_dropped_and_the_rest_is_bounded(tmp_path: Path, base: Header) -> None:
    odd = {"a": 1, "b": "x", "c": None, "d": float("nan"), "e": float("-inf"), "f": True, "g" * 99: 1.0, "h": 10**400}
    found = taken(tmp_path, base, model(), metadata(metrics=json.dumps(odd)))
    assert found.metrics == {"a": 1.0, "f": 1.0}
    many = {f"m{n:04}": float(n) for n in range(1000)}
    assert len(taken(tmp_path, base, model(), metadata(metrics=json.dumps(many))).metrics) == 64


def test_truth_values_of_other_bytes_are_rejected(tmp_path: Path) -> None:
    said = metadata(kind="init", examples="0", trainable='["w"]', tied="{}")
    save(tmp_path / "update", {"w": torch.zeros(2), "mask": torch.tensor([True, False])}, said)
    content = bytearray((tmp_path / "update").read_bytes())
    content[-1] = 7
    (tmp_path / "update").write_bytes(content)
    with pytest.raises(UpdateRejected, match="'mask'"):
        examine(tmp_path / "update", NAME, "init", spec(), None, None)


@pytest.mark.parametrize("cut", [1, 100, 700])
def test_a_truncated_file_is_rejected(tmp_path: Path, base: Header, cut: int) -> None:
    save(tmp_path / "update", model(), metadata())
    content = (tmp_path / "update").read_bytes()
    (tmp_path / "update").write_bytes(content[:-cut])
    with pytest.raises(UpdateRejected):
        examine(tmp_path / "update", NAME, "train", spec(), base, None)
