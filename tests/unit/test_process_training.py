"""The training process: the same bytes wherever it runs, and an answer whatever the task does."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from training.works import TASK, Place, place

from warren.storage.tensors import digest_file, read_header
from warren.storage.torch_tensors import map_file
from warren.trainer.process import (
    Crashed,
    DeviceRefused,
    Evaluated,
    Stopped,
    TaskFailed,
    Trained,
    TrainingProcess,
)

FOREVER = {"train": {"steps": 10_000_000}}


def go_on() -> bool:
    return True


@pytest.fixture(scope="module")
def training() -> Iterator[TrainingProcess]:
    process = TrainingProcess("cpu", None)
    yield process
    process.close()


@pytest.fixture
def here(tmp_path: Path, training: TrainingProcess) -> Place:
    """A task with dropout, and its initial model."""
    made = place(tmp_path)
    assert isinstance(training.run(made.work("init"), go_on), Trained)
    return made


def altered(tmp_path: Path, old: str, new: str) -> Place:
    assert old in TASK
    return place(tmp_path, TASK.replace(old, new))


def trained(outcome: object) -> Trained:
    assert isinstance(outcome, Trained), outcome
    return outcome


def failed(outcome: object) -> TaskFailed:
    assert isinstance(outcome, TaskFailed), outcome
    return outcome


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in map_file(path).items()}


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
    assert (outcome.size, outcome.digest) == (outcome.path.stat().st_size, digest_file(outcome.path))


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


def test_training_stops_at_a_batch_and_the_process_goes_on(here, training):
    answers = iter([True, False])
    assert training.run(here.work("train", **FOREVER), lambda: next(answers, False)) == Stopped()
    pid = training.pid
    assert isinstance(training.run(here.work("train"), go_on), Trained)
    assert training.pid == pid


def test_a_stop_that_comes_after_the_end_leaves_the_next_work_alone(here, training):
    for _ in range(5):
        assert isinstance(training.run(here.work("train"), lambda: False), Trained | Stopped)
        assert isinstance(training.run(here.work("train"), go_on), Trained)


def test_a_process_that_is_killed_is_told_and_started_again(here, training):
    pid = training.pid
    assert pid is not None
    threading.Timer(0.3, lambda: os.kill(pid, signal.SIGKILL)).start()
    outcome = training.run(here.work("train", **FOREVER), go_on)
    assert isinstance(outcome, Crashed)
    assert outcome.reason.startswith("killed by signal 9")
    assert isinstance(training.run(here.work("train"), go_on), Trained)
    assert training.pid != pid


def test_a_process_that_dies_while_idle_costs_nothing(here, training):
    [child] = [child for child in multiprocessing.active_children() if child.pid == training.pid]
    psutil.Process(training.pid).kill()
    multiprocessing.connection.wait([child.sentinel], 30)
    assert isinstance(training.run(here.work("train"), go_on), Trained)


def test_a_task_that_ends_the_process_is_a_crash_that_says_how(tmp_path, training):
    made = altered(tmp_path, "    chance = torch", "    import os; os._exit(3)\n    chance = torch")
    training.run(made.work("init"), go_on)
    assert training.run(made.work("train"), go_on) == Crashed("exited with code 3")


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_the_whole_group_are_the_trainers_to_act_on(here, training, signal_number):
    pid = training.pid
    assert pid is not None
    os.kill(pid, signal_number)
    os.kill(psutil.Process(pid).ppid(), signal_number)  # the fork server
    assert isinstance(training.run(here.work("train"), go_on), Trained)
    assert training.pid == pid


FAILURES = [
    ("raise ValueError('a bad row')", "ValueError", 9, "a bad row"),
    ("raise SystemExit(2)", "SystemExit", 9, "2"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt", 9, ""),
    ("raise MemoryError", "OutOfMemory", 9, ""),
    ("torch.empty(1 << 50)", "OutOfMemory", 9, "memory"),
    ("return None", "TaskError", 8, "data(client) must return a Dataset with len() and indexing, got NoneType"),
    ("client.nme", "AttributeError", 9, "nme"),
]


@pytest.mark.parametrize(("line", "error", "number", "words"), FAILURES)
def test_what_the_task_raises_fails_its_client_and_not_the_process(tmp_path, training, line, error, number, words):
    made = altered(tmp_path, "    chance = torch", f"    {line}\n    chance = torch")
    training.run(made.work("init"), go_on)
    pid = training.pid
    told = failed(training.run(made.work("train"), go_on))
    assert (told.failure.error, told.failure.file, told.failure.line) == (error, "task.py", number)
    assert words in told.failure.text
    assert training.pid == pid


def test_at_a_site_the_exceptions_words_stay_at_home(tmp_path, training):
    made = altered(tmp_path, "    chance = torch", "    raise ValueError('Mrs Smith')\n    chance = torch")
    training.run(made.work("init"), go_on)
    told = failed(training.run(made.work("train", share_errors="type"), go_on))
    assert "Smith" not in told.failure.model_dump_json()
    assert "raise ValueError('Mrs Smith')" in told.trace


COMPLEX = "return nn.ParameterList([torch.zeros(2, dtype=torch.cfloat)]) or ("
LAZY = "return nn.LazyLinear(3) or ("


@pytest.mark.parametrize(("made_of", "error"), [(COMPLEX, "UnsupportedDtype"), (LAZY, "TaskError")])
def test_a_model_that_no_update_can_carry_is_told(tmp_path, training, made_of, error):
    made = altered(tmp_path, "return nn.Sequential(", made_of)
    assert failed(training.run(made.work("init"), go_on)).failure.error == error


def test_a_loss_that_is_not_finite_fails_the_client(tmp_path, training):
    made = place(tmp_path, TASK + "\ndef loss(output, target):\n    return output.sum() * float('nan')\n")
    training.run(made.work("init"), go_on)
    assert failed(training.run(made.work("train"), go_on)).failure.error == "NonFiniteLoss"


def test_a_job_that_needs_a_gpu_fails_on_a_cpu(here, training):
    assert failed(training.run(here.work("train", needs="gpu"), go_on)).failure.error == "NeedsGpu"


def test_a_device_that_is_not_there_is_refused():
    for device in ("cuda:99", "tpu"):
        process = TrainingProcess(device, None)
        with pytest.raises(DeviceRefused, match=f"--device {device}"):
            process.facts()
        process.close()


def test_after_close_nothing_is_run(here):
    process = TrainingProcess("cpu", None)
    assert process.facts().device == "cpu"
    running = process.pid
    assert running is not None
    threading.Timer(0.3, process.close).start()
    assert process.run(here.work("train", **FOREVER), go_on) == Stopped()
    assert process.run(here.work("train"), go_on) == Stopped()
    assert not psutil.pid_exists(running)


PARENT = """\
import sys
from pathlib import Path
from training.works import TASK, place
from warren.trainer.process import TrainingProcess

if __name__ == "__main__":
    made = place(Path(sys.argv[1]), TASK + "print('said by the task')")
    process = TrainingProcess("cpu", None)
    process.run(made.work("init"), lambda: True)
    assert "torch" not in sys.modules, "the trainer's own process imported torch"
    print(process.pid, flush=True)
    if sys.argv[2] == "leave":
        sys.exit()
    process.run(made.work("train", train={"steps": 10_000_000}), lambda: True)
"""


def _parent(tmp_path: Path, what: str) -> subprocess.Popen[str]:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    path = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "place"), what],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def test_training_ends_when_its_trainer_is_killed_and_no_torch_is_in_the_trainer(tmp_path):
    with _parent(tmp_path, "train") as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        child.wait(timeout=30)


def test_a_trainer_that_just_ends_leaves_no_process_and_no_word_of_the_task_on_its_output(tmp_path):
    with _parent(tmp_path, "leave") as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert parent.wait(timeout=60) == 0
        assert parent.stdout.read() == ""
        assert not psutil.pid_exists(child)


def test_many_clients_on_one_process_leave_no_memory_behind(here, training):
    for index in range(20):
        training.run(here.work("train", client=f"c{index % 3:03}", job_round=index + 1), go_on)
    before = psutil.Process(training.pid).memory_info().rss
    for index in range(100):
        training.run(here.work("train", client=f"c{index % 3:03}", job_round=index + 1), go_on)
    assert psutil.Process(training.pid).memory_info().rss - before < 4 << 20
