"""The training process when things go wrong: stops, kills, exceptions; it always answers, and goes on."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from training.outcomes import altered, failed, go_on
from training.works import TASK, place

from warren.trainer.process import (
    Crashed,
    DeviceRefused,
    Stopped,
    Trained,
    TrainingProcess,
)

FOREVER = {"train": {"steps": 10_000_000}}


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


def test_works_that_were_begun_ahead_are_answered_in_their_turn(here, training):
    works = [here.work("train", attempt=f"a{number}", output=f"o{number}") for number in range(3)]
    for work in (works[0], works[1], works[0]):  # the second time it is begun already
        training.begin(work)
    told = [training.run(work, go_on) for work in works]
    assert [one.path for one in told if isinstance(one, Trained)] == [work.output_path for work in works]


def test_a_stop_ends_the_work_in_hand_and_not_the_one_begun_after_it(here, training):
    long, short = here.work("train", **FOREVER), here.work("train", output="after")
    training.begin(long)
    training.begin(short)
    assert training.run(long, lambda: False) == Stopped()
    assert isinstance(training.run(short, go_on), Trained)


def test_a_work_that_was_begun_and_is_not_wanted_any_more_is_not_waited_for(here, training):
    pid = training.pid
    training.begin(here.work("train", **FOREVER))
    other = training.run(here.work("train", output="other"), go_on)
    assert isinstance(other, Trained)
    assert other.path.stem == "other"
    assert training.pid == pid


def test_a_death_is_that_of_the_work_in_hand_and_the_one_begun_after_it_is_done_all_the_same(here, training):
    pid = training.pid
    assert pid is not None
    long, short = here.work("train", **FOREVER), here.work("train", output="after")
    training.begin(long)
    training.begin(short)
    threading.Timer(0.3, lambda: os.kill(pid, signal.SIGKILL)).start()
    assert isinstance(training.run(long, go_on), Crashed)
    assert isinstance(training.run(short, go_on), Trained)


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
