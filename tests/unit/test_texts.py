"""The next-character task: who speaks in a text, its windows, and a small LSTM that learns from them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from warren.storage.job import TrainSpec
from warren.trainer import texts
from warren.trainer.batches import length, split
from warren.trainer.evaluate import evaluate
from warren.trainer.local import Setting, train_weights
from warren.trainer.losses import default_loss
from warren.trainer.task import Client, Task, load_task, shipped
from warren.trainer.task_calls import build_model, client_data, held_out_data

WORDS = {
    "HAMLET": "to be or not to be that is the question",
    "OPHELIA": "good my lord how does your honour",
    "FIRST CLOWN": "he was the first that ever bore arms",
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As a trainer has; two on a busy machine wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def play(speeches: int = 20, style: str = "line") -> str:
    """A play whose speakers take turns, after a title that is nobody's."""
    chance = random.Random(1)
    parts = ["A PLAY\n\nDRAMATIS PERSONAE\n"]
    for number in range(speeches):
        name = list(WORDS)[number % 3]
        said = " ".join(chance.choice(WORDS[name].split()) for _ in range(40))
        heading = f"{name}.\n{said}" if style == "line" else f"  {name.title().split()[-1][:4]}. {said}"
        parts.append(f"\n{heading}\n")
    return "".join(parts)


def task() -> Task:
    path = shipped("shakespeare")
    assert path is not None
    return load_task(path)


def client(folder: Path, index: int = 0, count: int = 3, site: str | None = None) -> Client:
    return Client(site or f"c{index}", index, count, site, folder, seed=3)


@pytest.mark.parametrize("mark", [".", ":"])
def test_speakers_are_told_by_lines_of_capitals(mark):
    said = texts.speeches(play().replace(".\n", f"{mark}\n"))
    assert list(said) == ["FIRST CLOWN", "HAMLET", "OPHELIA"]
    assert set(said["HAMLET"].split()) <= set(WORDS["HAMLET"].split())
    assert said["HAMLET"].count("\n") == 6, "seven speeches, a line each"


def test_speakers_are_told_as_the_first_folio_does():
    said = texts.speeches(play(style="folio"))
    assert list(said) == ["CLOW", "HAML", "OPHE"]
    assert set(said["OPHE"].split()) <= set(WORDS["OPHELIA"].split())


def test_a_text_without_headings_has_no_speakers_and_is_cut_into_pieces():
    text = "It was the best of times. It was the worst of times.\n" * 50
    assert texts.speeches(text) == {}
    parts = texts.pieces(text, 7)
    assert "".join(parts) == text
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_characters_have_numbers_and_all_others_share_one():
    assert texts.encode("\n A~").tolist() == [0, 1, 34, 95]
    assert texts.encode("é\t\U0001f600\x00").tolist() == [96] * 4
    assert texts.CHARACTERS == 97


def test_windows_follow_each_other_and_targets_are_the_next_characters():
    rows = texts.windows(texts.encode("abcdefg"), 3)
    assert ["".join(texts.ALPHABET[code] for code in row) for row in rows] == ["abcd", "defg"]
    assert len(texts.windows(texts.encode("abc"), 3)) == 0


def test_each_client_is_a_speaker_and_its_end_is_held_out(tmp_path):
    (tmp_path / "play.txt").write_text(play(60))
    shares = [client_data(task(), client(tmp_path, n), {"file": "play.txt"}) for n in range(3)]
    letters = [set(share.tensors[0].flatten().tolist()) for share in shares]  # type: ignore[attr-defined]
    assert letters[1] == set(texts.encode(WORDS["HAMLET"] + "\n").tolist())
    held = held_out_data(task(), client(tmp_path), {"file": "play.txt"})
    assert held is not None
    assert 0.05 < length(held) / sum(map(length, shares)) < 0.15
    two = [client_data(task(), client(tmp_path, n, 2), {"file": "play.txt"}) for n in range(2)]
    assert sum(map(length, two)) == sum(map(length, shares)), "with fewer clients whole speakers share one"
    site = client_data(task(), client(tmp_path, 0, 2, site="globe"), {"file": "play.txt"})
    assert length(site) == sum(map(length, shares))


def test_a_text_that_is_missing_too_short_or_not_utf8_is_told(tmp_path):
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "latin.txt").write_bytes("ré".encode("latin-1"))
    for name, words in (
        ("gone.txt", r"no text .*gone\.txt: name its folder with --data-dir"),
        ("short.txt", r"short\.txt: 3 clients, and 0 pieces of 2 x 80 characters"),
        ("latin.txt", r"latin\.txt is not UTF-8 text, from byte 1"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            client_data(task(), client(tmp_path), {"file": name})


def test_the_network_has_the_size_of_two_layers_of_256():
    model = build_model(task(), {})
    lstm = 4 * 256 * (8 + 256 + 2) + 4 * 256 * (256 + 256 + 2)  # torch keeps two biases a gate
    assert sum(parameter.numel() for parameter in model.parameters()) == lstm + 97 * 8 + 257 * 97
    assert model(torch.zeros(2, 80, dtype=torch.int64)).shape == (2, 97, 80)


def test_what_a_speaker_says_is_learned(tmp_path):
    (tmp_path / "play.txt").write_text(play(120))
    share: Any = client_data(task(), client(tmp_path, 1), {"file": "play.txt"})
    torch.manual_seed(0)
    model = build_model(task(), {"hidden": 64, "layers": 1})
    setting = Setting(
        TrainSpec(epochs=8, batch_size=10, optimizer="adam", lr=0.01), 1, 0, torch.device("cpu"), default_loss
    )
    training, validation = split(share, 0.2, seed=1)
    train_weights(model, training, setting)
    assert validation is not None
    found = evaluate(model, validation, setting, batch_size=50)
    assert found.metrics["accuracy"] > 0.6  # within a word the next letter is known; the most frequent one is 20 %
