"""The training process: the same bytes wherever it runs, and an answer whatever the task does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from training.outcomes import failed, go_on, tensors, trained
from training.works import TASK, Place, place

from warren.storage.digests import digest_file, passing
from warren.storage.tensors import read_header
from warren.trainer.process import (
    Evaluated,
    Trained,
    TrainingProcess,
)


def test_an_update_says_what_it_is_and_where_it_was_made(here, training):
    outcome = trained(training.run(here.work("train", client="c001", torch_threads=2), go_on))
    facts = read_header(outcome.path).metadata
    assert {key: facts[key] for key in ("warren", "job", "round", "kind", "client", "attempt", "threads")} == {
        "warren": "1", "job": "job", "round": "1", "kind": "train", "client": "c001", "attempt": "a1", "threads": "2",
    }  # fmt: skip
    assert json.loads(facts["trainable"]) == ["0.bias", "0.weight", "3.bias", "3.weight"]
    assert json.loads(facts["tied"]) == {}
    assert json.loads(facts["metrics"]) == outcome.metrics
    assert facts["examples"] == "36"  # of 40, less the tenth for validation
    assert facts["torch"] == torch.__version__
    assert facts["cpu"]
    assert float(facts["seconds"]) > 0
    assert outcome.examples == 36
    assert (outcome.size, outcome.digest) == (outcome.path.stat().st_size, digest_file(outcome.path, passing))


def test_the_initial_model_stands_for_no_examples_and_follows_from_the_seed_alone(tmp_path, training):
    made = place(tmp_path)
    first = trained(training.run(made.work("init"), go_on))
    weights = tensors(made.base)
    training.run(made.work("init", client="c002", attempt="other"), go_on)
    assert first.examples == 0
    assert all(torch.equal(weights[name], tensor) for name, tensor in tensors(made.base).items())
    training.run(made.work("init", seed=8), go_on)
    assert not torch.equal(weights["0.weight"], tensors(made.base)["0.weight"])


def test_a_seed_gives_the_same_tensors_in_every_process_after_any_other_work(here, training):
    """With dropout; by another attempt, after other clients, in a process with other threads and generators."""
    first = tensors(trained(training.run(here.work("train"), go_on)).path)
    for client in ("c001", "c002"):
        training.run(here.work("train", client=client, output=client, torch_threads=2), go_on)
    again = tensors(trained(training.run(here.work("train", attempt="a2", output="again"), go_on)).path)
    other = TrainingProcess("cpu", None)
    try:
        elsewhere = tensors(trained(other.run(here.work("train", output="elsewhere"), go_on)).path)
    finally:
        other.close()
    assert first.keys() == again.keys() == elsewhere.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(torch.equal(first[name], elsewhere[name]) for name in first)
    assert not torch.equal(first["0.weight"], tensors(here.folder / "c001.safetensors")["0.weight"])


def test_mu_0_gives_the_same_bytes_as_none(here, training):
    plain = tensors(trained(training.run(here.work("train"), go_on)).path)
    zero = tensors(trained(training.run(here.work("train", output="zero", train={"mu": 0.0}), go_on)).path)
    some = tensors(trained(training.run(here.work("train", output="some", train={"mu": 0.5}), go_on)).path)
    assert all(torch.equal(plain[name], zero[name]) for name in plain)
    assert not torch.equal(plain["0.weight"], some["0.weight"])


def test_a_delta_is_the_weights_less_the_base(here, training):
    weights = tensors(trained(training.run(here.work("train"), go_on)).path)
    delta = tensors(trained(training.run(here.work("train", output="delta", update="delta"), go_on)).path)
    base = tensors(here.base)
    assert all(torch.equal(delta[name], weights[name] - base[name]) for name in weights)


def test_gradients_stand_for_the_examples_of_their_batch(here, training):
    work = here.work("train", update="gradients", train={"batch_size": 8, "accumulate": 2})
    outcome = trained(training.run(work, go_on))
    assert outcome.examples == 16
    assert tensors(outcome.path).keys() == tensors(here.base).keys()


BUFFERS = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 5)
        self.outer = nn.Linear(5, 5)
        self.outer.weight = self.inner.weight
        self.norm = nn.BatchNorm1d(5)
        self.frozen = nn.Parameter(torch.ones(5), requires_grad=False)
        self.register_buffer("scratch", torch.zeros(5), persistent=False)

    def forward(self, x):
        self.scratch += 1  # would carry over from work to work
        return self.norm(self.outer(self.inner(x))) * self.frozen + self.scratch

def model():
    return Net()
"""


@pytest.fixture
def buffered(tmp_path: Path, training: TrainingProcess) -> Place:
    start = TASK.index("def model")
    made = place(tmp_path, TASK[:start] + BUFFERS + "\n" + TASK[TASK.index("def data") :])
    assert isinstance(training.run(made.work("init"), go_on), Trained)
    return made


def test_tied_weights_stand_in_an_update_once_and_buffers_beside_the_trained(buffered, training):
    outcome = trained(training.run(buffered.work("train"), go_on))
    facts, found = read_header(outcome.path).metadata, tensors(outcome.path)
    assert json.loads(facts["tied"]) == {"outer.weight": "inner.weight"}
    assert json.loads(facts["trainable"]) == [
        "inner.bias", "inner.weight", "norm.bias", "norm.weight", "outer.bias",
    ]  # fmt: skip
    carried = {"frozen", "norm.num_batches_tracked", "norm.running_mean", "norm.running_var"}
    assert found.keys() == {*json.loads(facts["trainable"]), *carried}
    assert found["norm.num_batches_tracked"].dtype == torch.int64


def test_gradients_jobs_carry_the_buffers_values(buffered, training):
    outcome = trained(training.run(buffered.work("train", update="gradients", train={"accumulate": 2}), go_on))
    found = tensors(outcome.path)
    assert found["norm.num_batches_tracked"] == 2
    assert torch.equal(found["frozen"], torch.ones(5))
    assert not torch.equal(found["norm.running_mean"], torch.zeros(5))


def test_nothing_of_an_earlier_work_stays_in_a_kept_model(buffered, training):
    first = tensors(trained(training.run(buffered.work("train"), go_on)).path)
    again = tensors(trained(training.run(buffered.work("train", output="again"), go_on)).path)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_checkpoint_with_every_name_is_a_base_too(buffered, training):
    from warren.storage.torch_tensors import save

    first = tensors(trained(training.run(buffered.work("train"), go_on)).path)
    base = tensors(buffered.base)
    save(buffered.base, {**base, "outer.weight": base["inner.weight"]}, {"format": "pt"})
    again = tensors(trained(training.run(buffered.work("train", output="again"), go_on)).path)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_base_of_another_model_is_told(here, training):
    told = failed(training.run(here.work("train", params={"hidden": 9}), go_on))
    assert told.failure.error == "BaseMismatch"
    assert "model() makes" in told.failure.text


def test_evaluation_reads_the_validation_share_and_held_out_the_tasks_test_data(here, training):
    share = training.run(here.work("evaluate"), go_on)
    assert isinstance(share, Evaluated)
    assert share.examples == 4
    assert share.metrics.keys() == {"loss", "accuracy"}
    assert training.run(here.work("evaluate", client="held-out", held_out=True), go_on) == Evaluated(0, {})
    assert training.run(here.work("evaluate", evaluate={"share": 0.0}), go_on) == Evaluated(0, {})


def test_held_out_data_is_evaluated_whole(tmp_path, training):
    made = place(tmp_path, TASK + "\ndef test_data(client):\n    return data(client, rows=25)\n")
    training.run(made.work("init"), go_on)
    found = training.run(made.work("evaluate", client="held-out", held_out=True), go_on)
    assert isinstance(found, Evaluated)
    assert found.examples == 25


def test_a_site_may_hold_a_loader_of_its_own(here, tmp_path):
    loader = tmp_path / "site.py"
    loader.write_text("from torch.utils.data import TensorDataset\nimport torch\n"
                      "def data(client):\n    assert client.data_dir.name == 'records'\n"
                      "    return TensorDataset(torch.zeros(10, 5), torch.zeros(10).long())\n")  # fmt: skip
    process = TrainingProcess("cpu", tmp_path / "records", loader)
    try:
        assert trained(process.run(here.work("train"), go_on)).examples == 9
    finally:
        process.close()
