"""`checkpoint get --ema`: the running mean beside a job's checkpoints, as a model of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from warren.cli.main import call
from warren.storage import keys
from warren.storage.folder import FolderStore
from warren.storage.job import make_spec, write_spec
from warren.storage.tensors import read_header
from warren.storage.torch_tensors import map_file, save

JOB = "lung-aaa111"
METADATA = {"format": "pt", "trainable": json.dumps(["weight"]), "tied": json.dumps({"alias": "weight"})}


def models(number: int) -> dict[str, torch.Tensor]:
    weight = torch.full((2, 3), float(number))
    return {"weight": weight, "alias": weight.clone(), "steps": torch.tensor(number)}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    store = FolderStore(tmp_path / "runs")
    task = {"name": "lung", "file": "lung.py", "digest": "0" * 64}
    store.create(keys.spec(JOB), write_spec(make_spec({"job": JOB, "task": task, "rounds": 2})))
    for number in (0, 1, 2):
        put(store, keys.checkpoint(JOB, number), models(number), METADATA, tmp_path)
    return store


def put(store: FolderStore, key: str, tensors: dict[str, torch.Tensor], metadata: dict[str, str], folder: Path) -> None:
    save(folder / "made", tensors, metadata)
    store.create(key, folder / "made")


def get(store: FolderStore, tmp_path: Path, *words: str) -> int:
    place = str((tmp_path / "runs").resolve())
    return call(["checkpoint", "get", JOB, *words, "--ema", "--store", place, "-o", str(tmp_path / "out.safetensors")])


@pytest.mark.parametrize(("words", "number"), [((), 2), (("last",), 2), (("1",), 1)])
def test_what_is_trained_is_the_mean_under_every_name_and_the_rest_is_the_rounds(
    store: FolderStore, tmp_path: Path, words: tuple[str, ...], number: int
) -> None:
    for one in (1, 2):
        state = {"ema/weight": torch.full((2, 3), one / 4), "v/weight": torch.zeros(2, 3)}
        put(store, keys.optimizer(JOB, one), state, {}, tmp_path)
    assert get(store, tmp_path, *words) == 0
    found = map_file(tmp_path / "out.safetensors")
    assert found.keys() == models(number).keys()
    assert torch.equal(found["weight"], torch.full((2, 3), number / 4))
    assert torch.equal(found["alias"], found["weight"])
    assert torch.equal(found["steps"], torch.tensor(number))
    assert read_header(tmp_path / "out.safetensors").metadata == METADATA


def test_a_job_that_keeps_no_mean_is_answered_with_how_to_keep_one(
    store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert get(store, tmp_path, "1") == 1
    put(store, keys.optimizer(JOB, 2), {"v/weight": torch.zeros(2, 3)}, {}, tmp_path)
    assert get(store, tmp_path, "2") == 1
    assert capsys.readouterr().err.count("[strategy] ema = ") == 2
    assert not (tmp_path / "out.safetensors").exists()


def test_the_best_model_has_no_mean_of_its_own(store: FolderStore, tmp_path: Path) -> None:
    assert get(store, tmp_path, "best") == 2
