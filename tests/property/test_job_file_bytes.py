"""Whatever stands in a job file or an option, it is a job or a mistake with its place: never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from warren.cli.jobfile import apply_options, read_job_file, resolve_job
from warren.cli.toml_text import write_toml
from warren.storage.errors import SpecInvalid
from warren.storage.job import EvaluateSpec, JobSpec, TrainSpec

WHOLE = """task = "own.py"
clients = 10
rounds = 5
fraction = 0.5
quorum = "80%"
deadline = "2m"
below_quorum = "extend"
keep_checkpoints = "every 3"
[train]
lr = { "0" = 0.1, "3" = 0.01 }
batch_size = 16
[strategy]
name = "fedadam"
lr = 0.01
[evaluate]
share = 0.2
[params]
hidden = 3
"""
ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)

words = st.sampled_from(
    sorted({*JobSpec.model_fields, *TrainSpec.model_fields, *EvaluateSpec.model_fields, "deadline"})
)
scalars = st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=12)
spans = st.from_regex(r"\d{1,20}(\.\d{1,20})?(ms|s|m|h|d|%|)", fullmatch=True)
values = st.recursive(
    scalars | spans, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3)
)

Judge = Callable[..., None]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """Reads a job file with options: a spec, or a mistake of one or two lines."""
    (tmp_path / "own.py").write_text("def model(): ...\ndef data(client): ...\n")
    path = tmp_path / "job.toml"

    def read(body: bytes, settings: tuple[str, ...] = ()) -> None:
        path.write_bytes(body)
        said = "a job"
        try:
            draft = read_job_file(path)
            apply_options(draft, settings, ())
            resolve_job(draft)
        except SpecInvalid as error:
            said = str(error)
        assert 0 < len(said.splitlines()) <= 3

    return read


@ONE_FOLDER
@given(body=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_job_or_a_mistake(judge: Judge, body: bytes) -> None:
    judge(body)


@ONE_FOLDER
@given(place=st.integers(0, len(WHOLE)), patch=st.binary(min_size=1, max_size=6))
def test_a_job_file_with_bytes_overwritten_is_a_job_or_a_mistake(judge: Judge, place: int, patch: bytes) -> None:
    whole = WHOLE.encode()
    judge(whole[:place] + patch + whole[place + len(patch) :])


@ONE_FOLDER
@example(fields={"sites": 1})
@given(fields=st.dictionaries(words, values, max_size=4))
def test_any_values_are_a_job_or_a_mistake(judge: Judge, fields: dict[str, Any]) -> None:
    judge(write_toml({"task": "own.py"} | fields).encode())


@ONE_FOLDER
@given(key=st.lists(words, min_size=1, max_size=3).map(".".join), value=st.text(max_size=20) | spans)
def test_any_setting_is_a_job_or_a_mistake(judge: Judge, key: str, value: str) -> None:
    judge(WHOLE.encode(), (f"{key}={value}",))
