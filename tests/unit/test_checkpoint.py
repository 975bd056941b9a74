"""A checkpoint is a pure function of the manifest and the objects it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from warren.aggregator.checkpoint import fold_for, read_start, write_checkpoint
from warren.aggregator.fold import Incoming
from warren.aggregator.stepping import NotFinite, check_finite
from warren.storage.digests import digest_file
from warren.storage.documents import Entry, Manifest
from warren.storage.errors import ObjectDamaged, ObjectMissing
from warren.storage.job import JobSpec, make_spec
from warren.storage.tensors import Written, read_header
from warren.storage.torch_tensors import save

TRAINABLE = ["body.bias", "body.weight", "head.weight"]
LAYOUT = {"trainable": json.dumps(TRAINABLE), "tied": '{"tail.weight": "head.weight"}'}
EXAMPLES = (30, 10, 60)


class Model(nn.Module):
    """Tied weights, a frozen parameter, floating and integer buffers, two dtypes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.tail = nn.Linear(4, 5, bias=False)
        self.tail.weight = self.head.weight
        self.register_buffer("mean", torch.zeros(3, dtype=torch.bfloat16))
        self.register_buffer("count", torch.tensor(0))


def spec(update: str = "weights", name: str = "fedavg", weighting: str = "examples", **options: Any) -> JobSpec:
    task = {"name": "t", "file": "t.py", "digest": "0" * 64}
    strategy = {"name": name, "weighting": weighting, "options": options}
    return make_spec({"job": "j", "task": task, "update": update, "strategy": strategy})


def state(client: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(client)
    full = {name: torch.randn(tensor.shape).to(tensor.dtype) for name, tensor in Model().state_dict().items()}
    full["count"] = torch.tensor(client)
    del full["tail.weight"]
    return full


class Round:
    """Three updates and a base, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.base = folder, folder / "base"
        written = save(folder / "init", state(99), LAYOUT)
        first = Manifest(job="j", round=0, entries=(self.entry("init", written, 0),))
        write_checkpoint(spec(), first, None, None, self.path, None, self.base, folder / "none")
        self.entries = []
        for client, examples in enumerate(EXAMPLES):
            written = save(folder / f"c{client}", state(client), LAYOUT | {"attempt": str(client)})
            self.entries.append(self.entry(f"c{client}", written, examples))

    def entry(self, client: str, written: Written, examples: int) -> Entry:
        fields = {"client": client, "source": "pool.p", "attempt": "a", "examples": examples}
        return Entry(**fields, digest=written.digest, size=written.size)  # type: ignore[arg-type]

    def path(self, entry: Entry) -> Path:
        return self.folder / entry.client

    def write(self, job: JobSpec, out: str = "out", **more: Any) -> tuple[Written, Written | None]:
        manifest = Manifest(job="j", round=1, entries=tuple(self.entries))
        arguments = {"optimizer_path": None, "fold": None} | more
        return write_checkpoint(
            job, manifest, self.base, update_path=self.path, out=self.folder / out,
            optimizer_out=self.folder / f"{out}.optimizer", **arguments,
        )  # fmt: skip


@pytest.fixture
def one(tmp_path: Path) -> Round:
    return Round(tmp_path)


def average(name: str, weights: tuple[int, ...] = EXAMPLES) -> torch.Tensor:
    return sum(w * state(c)[name].double() for c, w in enumerate(weights)) / sum(weights)  # type: ignore[return-value]


def test_the_first_checkpoint_is_the_initial_model_under_every_name(one: Round) -> None:
    model = Model()
    model.load_state_dict(safetensors.torch.load_file(one.base))
    for name, tensor in state(99).items():
        assert torch.equal(model.state_dict()[name], tensor)
    assert torch.equal(model.tail.weight, state(99)["head.weight"])


def test_a_checkpoint_says_nothing_of_job_time_or_attempt(one: Round) -> None:
    one.write(spec())
    said = read_header(one.folder / "out").metadata
    assert said.keys() == {"format", "trainable", "tied"}
    assert json.loads(said["trainable"]) == TRAINABLE


def test_weights_are_averaged_by_examples_and_keep_their_dtypes(one: Round) -> None:
    one.write(spec())
    made = safetensors.torch.load_file(one.folder / "out")
    for name in ("body.weight", "head.weight", "tail.weight"):
        torch.testing.assert_close(made[name].double(), average(name.replace("tail", "head")), rtol=1e-6, atol=1e-6)
    assert made["mean"].dtype == torch.bfloat16
    torch.testing.assert_close(made["mean"].double(), average("mean"), rtol=1e-2, atol=1e-2)
    assert made["count"].item() == 0


def test_uniform_weighting_counts_each_client_once(one: Round) -> None:
    one.write(spec(weighting="uniform"))
    made = safetensors.torch.load_file(one.folder / "out")
    torch.testing.assert_close(made["body.bias"].double(), average("body.bias", (1, 1, 1)), rtol=1e-6, atol=1e-6)


def test_deltas_are_added_to_the_base_but_integers_are_values(one: Round) -> None:
    one.write(spec("delta"))
    made = safetensors.torch.load_file(one.folder / "out")
    wanted = state(99)["body.weight"].double() + average("body.weight")
    torch.testing.assert_close(made["body.weight"].double(), wanted, rtol=1e-6, atol=1e-6)
    wanted = state(99)["mean"].double() + average("mean")
    torch.testing.assert_close(made["mean"].double(), wanted, rtol=1e-2, atol=2e-2)
    assert made["count"].item() == 0


def test_gradients_step_what_is_trained_and_carry_the_buffers(one: Round) -> None:
    one.write(spec("gradients", "sgd", lr=0.5))
    made = safetensors.torch.load_file(one.folder / "out")
    wanted = state(99)["body.weight"].double() - 0.5 * average("body.weight")
    torch.testing.assert_close(made["body.weight"].double(), wanted, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(made["mean"].double(), average("mean"), rtol=1e-2, atol=1e-2)


def test_buffers_are_averaged_and_never_stepped(one: Round) -> None:
    _, state_written = one.write(spec(name="fedadam", lr=5.0))
    made = safetensors.torch.load_file(one.folder / "out")
    torch.testing.assert_close(made["mean"].double(), average("mean"), rtol=1e-2, atol=1e-2)
    assert state_written is not None
    kept = read_header(one.folder / "out.optimizer").tensors
    assert sorted(kept) == sorted(f"{kind}/{name}" for kind in "mv" for name in TRAINABLE)


@pytest.mark.parametrize("ahead", [0, 1, 2, 3])
def test_whatever_was_folded_ahead_the_bytes_are_the_same(one: Round, ahead: int) -> None:
    plain, _ = one.write(spec(name="fedyogi"))
    fold = fold_for(spec(), read_start(one.base).layout)
    for entry in one.entries[:ahead]:
        fold.add([Incoming(entry.client, entry.attempt, one.path(entry), entry.examples)])
    again, _ = one.write(spec(name="fedyogi"), "again", fold=fold)
    assert again == plain
    assert digest_file(one.folder / "again") == plain.digest


def test_a_fold_that_is_not_the_beginning_of_the_manifest_starts_over(one: Round) -> None:
    plain, _ = one.write(spec())
    fold = fold_for(spec(), read_start(one.base).layout)
    fold.add([Incoming("c1", "a", one.folder / "c1", 10), Incoming("c2", "a", one.folder / "c2", 60)])
    assert one.write(spec(), fold=fold)[0] == plain
    assert fold.spent
    assert one.write(spec(), fold=fold)[0] == plain


def test_an_update_that_is_not_the_frozen_one_is_named(one: Round) -> None:
    content = bytearray((one.folder / "c1").read_bytes())
    content[-1] ^= 1
    (one.folder / "c1").write_bytes(content)
    with pytest.raises(ObjectDamaged, match=r"update of c1 \(a\) is not the one that was frozen"):
        one.write(spec())
    one.write(spec(), examined={entry.digest for entry in one.entries})


def test_an_update_that_is_gone_is_missing(one: Round) -> None:
    (one.folder / "c2").unlink()
    with pytest.raises(ObjectMissing, match="c2"):
        one.write(spec())


def test_a_model_that_is_not_finite_is_named_and_not_written(one: Round) -> None:
    with pytest.raises(NotFinite, match=r"tensor 'body\.bias'"):
        one.write(spec("gradients", "sgd", lr=1e38, weight_decay=1e5))
    assert not (one.folder / "out").exists()


def test_finite_values_whose_sum_is_not_are_a_model_like_any_other() -> None:
    check_finite({"a": torch.full((10,), 3e38), "b": torch.full((10,), 60000.0, dtype=torch.float16)})
    for value in (float("inf"), float("-inf"), float("nan")):
        with pytest.raises(NotFinite):
            check_finite({"a": torch.tensor([3e38, value, 3e38])})


def test_state_of_another_strategy_is_not_used(one: Round) -> None:
    one.write(spec(name="fedadam"), "adam")
    fresh, _ = one.write(spec(name="fedyogi"))
    changed, _ = one.write(spec(name="fedyogi"), "changed", optimizer_path=one.folder / "adam.optimizer")
    assert changed == fresh


def test_the_optimizers_file_goes_on_and_does_not_change(one: Round) -> None:
    _, first = one.write(spec(name="fedadam"))
    kept = one.folder / "out.optimizer"
    _, second = one.write(spec(name="fedadam"), "next", optimizer_path=kept)
    assert first is not None
    assert digest_file(kept) == first.digest
    assert second != first


def test_float64_sums_are_an_option_and_keep_the_models_dtype(one: Round) -> None:
    one.write(spec(accumulate="float64"))
    made = safetensors.torch.load_file(one.folder / "out")
    assert torch.equal(made["body.weight"], average("body.weight").float())
