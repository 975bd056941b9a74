"""Which job is meant, commanding it, and looking at it and its models in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from warren.cli.connect import View
from warren.cli.errors import CliError, UsageMistake
from warren.cli.jobs import command_job, find_job, remember
from warren.cli.main import call
from warren.cli.one_job_store import OneJobStore
from warren.storage import keys
from warren.storage.documents import Control, Entry, Evaluation, Manifest, read_document, write_document
from warren.storage.folder import FolderStore
from warren.storage.job import make_spec, write_spec

DIGEST = "0" * 64


@pytest.fixture
def view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> View:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    store = FolderStore(tmp_path / "runs")
    for job in ("lung-aaa111", "lung-aab222", "digits-zzz999"):
        task = {"name": "lung", "file": "lung.py", "digest": DIGEST}
        store.create(keys.spec(job), write_spec(make_spec({"job": job, "task": task, "rounds": 2})))
    return View(store, place=str((tmp_path / "runs").resolve()))


def controls(view: View, job: str) -> list[str]:
    infos = list(view.store.list(keys.controls(job)))
    return [read_document(Control, view.store.read(info.key), info.key).command for info in infos]


def test_a_job_is_found_by_its_id_or_the_unique_start_of_it(view: View) -> None:
    assert find_job(view, "lung-aaa111") == "lung-aaa111"
    assert find_job(view, "lung-aab") == "lung-aab222"
    assert find_job(view, "d") == "digits-zzz999"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lung-aa", "2 jobs start with 'lung-aa': lung-aaa111, lung-aab222"),
        ("lunk-aaa111", "no job 'lunk-aaa111' in .*; did you mean 'lung-aaa111'"),
        ("../x", "is no job's id"),
        ("@last", "@last: no job was started from here"),
    ],
)
def test_words_that_mean_no_one_job_are_answered_with_those_near(view: View, text: str, expected: str) -> None:
    with pytest.raises(UsageMistake, match=expected):
        find_job(view, text)


def test_last_is_the_job_that_was_started_last_in_this_store(view: View) -> None:
    remember(view.place, "lung-aaa111")
    remember(view.place, "digits-zzz999")
    remember("elsewhere", "lung-aab222")
    assert find_job(view, "@last") == "digits-zzz999"


def test_last_never_means_a_job_that_is_gone(view: View) -> None:
    remember(view.place, "gone-123456")
    with pytest.raises(UsageMistake, match="@last"):
        find_job(view, "@last")


def test_a_command_is_the_next_control_document(view: View) -> None:
    assert command_job(view, "lung-aaa111", "pause", "lunch")[0]
    assert command_job(view, "lung-aaa111", "resume")[0]
    assert command_job(view, "lung-aaa111", "cancel")[0]
    assert controls(view, "lung-aaa111") == ["pause", "resume", "cancel"]


def test_a_command_that_is_obeyed_already_writes_nothing(view: View) -> None:
    assert not command_job(view, "lung-aaa111", "resume")[0]
    command_job(view, "lung-aaa111", "pause")
    assert not command_job(view, "lung-aaa111", "pause")[0]
    assert controls(view, "lung-aaa111") == ["pause"]


def test_a_job_that_has_ended_takes_no_command(view: View) -> None:
    view.store.create(keys.control("lung-aaa111", 1), write_document(Control(command="done", reason="2 rounds")))
    with pytest.raises(CliError, match="lung-aaa111 is done already: 2 rounds"):
        command_job(view, "lung-aaa111", "pause")


def test_of_two_commands_at_once_each_gets_a_number_of_its_own(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    create, raced = view.store.create, []

    def beaten(key: str, body: bytes, **options: str) -> bool:
        if not raced:  # somebody else's command comes first, once
            raced.append(create(key, write_document(Control(command="resume")), **options))
        return create(key, body, **options)

    monkeypatch.setattr(view.store, "create", beaten)
    assert command_job(view, "lung-aaa111", "pause")[0]
    assert controls(view, "lung-aaa111") == ["resume", "pause"]


def test_an_embedded_run_finds_no_job_but_its_own(view: View) -> None:
    store = OneJobStore(view.store, "lung-aaa111")
    assert list(store.folders("jobs/")) == ["lung-aaa111"]
    assert store.read(keys.spec("digits-zzz999"))
    assert list(store.folders("jobs/lung-aaa111/")) == list(view.store.folders("jobs/lung-aaa111/"))


@pytest.fixture
def finished(view: View) -> View:
    job = "lung-aaa111"
    entry = Entry(client="c000", source="pool.default", attempt="a", digest=DIGEST, size=2500, examples=10)
    for number in (0, 1, 2):
        failed = {"c001": "ValueError at lung.py:3"} if number == 2 else {}
        document = Manifest(job=job, round=number, entries=(entry,), failed=failed, reason="complete")
        view.store.create(keys.manifest(job, number), write_document(document))
        view.store.create(keys.checkpoint(job, number), b"model" * number)
    document = Evaluation(job=job, round=2, held_out={"accuracy": 0.96, "loss": 0.1}, held_out_examples=9)
    view.store.create(keys.evaluation(job, 2), write_document(document))
    view.store.create(keys.derived(job, "final.safetensors"), b"final")
    view.store.create(keys.control(job, 1), write_document(Control(command="done", reason="2 rounds")))
    return view


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_jobs_of_a_folder_are_listed(finished: View, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["job", "list", "--store", finished.place, "--json"]) == 0
    rows = {row["job"]: row for row in lines(capsys)}
    assert rows["lung-aaa111"]["state"] == "done"
    assert rows["lung-aaa111"]["accuracy"] == 0.96
    assert rows["digits-zzz999"]["state"] == "unfinished"
    assert call(["job", "list", "--store", finished.place]) == 0
    assert "2/2" in capsys.readouterr().out


def test_a_job_that_cant_be_read_is_listed_with_the_reason(view: View, capsys: pytest.CaptureFixture[str]) -> None:
    view.store.create(keys.spec("bad-000000"), b"{")
    assert call(["job", "list", "--store", view.place, "--json"]) == 0
    (row,) = [row for row in lines(capsys) if row["job"] == "bad-000000"]
    assert row["state"] == "unreadable"
    assert "job.json" in str(row["reason"])


def test_a_job_is_shown_with_its_rounds_failures_and_results(
    finished: View, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["job", "show", "lung-aaa", "--store", finished.place]) == 0
    shown = capsys.readouterr().out
    assert "lung-aaa111  done: 2 rounds" in shown
    assert "round 2  c001 failed: ValueError at lung.py:3" in shown
    assert "final.safetensors" in shown
    assert "rounds = 2" in shown
    assert "max_extensions" not in shown  # as it is by default
    assert max(len(line) for line in shown.splitlines() if "/" not in line) <= 80
    assert call(["job", "show", "lung-aaa", "--store", finished.place, "--json"]) == 0
    (facts,) = lines(capsys)
    assert [one["round"] for one in facts["rounds"]] == [1, 2]  # type: ignore[attr-defined]


def test_a_jobs_log_tells_what_happened_in_the_order_of_its_times(
    finished: View, capsys: pytest.CaptureFixture[str]
) -> None:
    job = "lung-aaa111"
    later = Control(command="resume", reason="mended", by="me@here", at="2026-03-01T10:00:09+00:00")
    finished.store.create(keys.control(job, 2), write_document(later))
    entry = Entry(client="c000", source="pool.default", attempt="a", digest=DIGEST, size=2500, examples=10)
    late = {"frozen_at": "2026-03-01T10:00:05+00:00", "rejected": {"c002": "NaN in 'fc.bias'"}, "asked": 2}
    document = Manifest(job=job, round=3, entries=(entry,), reason="deadline", seconds=1.5, **late)
    finished.store.create(keys.manifest(job, 3), write_document(document))
    finished.store.create(keys.manifest(job, 4), b"{")
    assert call(["job", "logs", job, "--store", finished.place]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-3:] == [
        "2026-03-01 10:00:05  round 3  c002 rejected: NaN in 'fc.bias'",
        "2026-03-01 10:00:05  round 3  frozen: 1 of 2 in, 1.5 s: deadline",
        "2026-03-01 10:00:09  resumed by me@here: mended",
    ]
    assert any("round 2  evaluated: accuracy 0.96  loss 0.1 (held-out)" in line for line in told)
    assert any("00004.json" in line for line in told), "a damaged document is named"
    assert call(["job", "logs", job, "--store", finished.place, "--json", "--tail", "1"]) == 0
    (last,) = lines(capsys)
    assert (last["event"], last["at"]) == ("resume", later.at)


def test_a_finished_job_is_watched_to_its_end(finished: View, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["watch", "lung-aaa", "--store", finished.place, "--json"]) == 0
    assert [one["event"] for one in lines(capsys)] == ["round", "round", "failed", "evaluation", "state"]


@pytest.mark.parametrize(("command", "code"), [("pause", 3), ("cancel", 1), ("fail", 1)])
def test_watching_ends_with_the_code_of_what_became_of_the_job(view: View, command: str, code: int) -> None:
    document = Control.model_validate({"command": command, "reason": "why"})
    view.store.create(keys.control("lung-aaa111", 1), write_document(document))
    assert call(["watch", "lung-aaa", "--store", view.place]) == code


@pytest.mark.parametrize(
    ("which", "expected"), [("final", b"final"), ("last", b"modelmodel"), ("1", b"model"), ("0", b"")]
)
def test_a_model_is_fetched_whole(finished: View, tmp_path: Path, which: str, expected: bytes) -> None:
    path = tmp_path / "out.safetensors"
    words = ["checkpoint", "get", "lung-aaa", which, "--store", finished.place, "-o", str(path)]
    assert call(words) == 0
    assert path.read_bytes() == expected
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["out.safetensors"]


@pytest.mark.parametrize(("which", "code"), [("best", 1), ("7", 1), ("newest", 2)])
def test_a_model_that_is_not_there_is_said_to_be_missing(
    finished: View, tmp_path: Path, which: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["checkpoint", "get", "lung-aaa", which, "--store", finished.place, "-o", str(tmp_path)]
    assert call(words) == code
    assert capsys.readouterr().err.startswith("warren: ")
    assert not [file for file in tmp_path.iterdir() if file.is_file()]


def test_checkpoints_are_listed_with_their_numbers(finished: View, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["checkpoint", "list", "lung-aaa", "--store", finished.place, "--json"]) == 0
    rows = lines(capsys)
    assert [row["round"] for row in rows] == [0, 1, 2, "final"]
    assert rows[2]["accuracy"] == 0.96
    assert Path(str(rows[2]["where"])).read_bytes() == b"modelmodel"


def test_lines_of_a_long_job_begin_with_its_last_rounds(finished: View, capsys: pytest.CaptureFixture[str]) -> None:
    job = "lung-aaa111"
    for number in (3, 4, 5):
        document = Manifest(job=job, round=number, entries=(), reason="complete")
        finished.store.create(keys.manifest(job, number), write_document(document))
    assert call(["watch", job, "--store", finished.place]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"3 rounds before these: `warren job show {job}`"
    assert [line[10:19] for line in shown[1:3]] == ["round 4/2", "round 5/2"]
    assert shown[-1].endswith(f"{job} done: 2 rounds")
