"""Results: metrics averaged by examples, a table with one row a round, a picture of it."""

from __future__ import annotations

import csv
import io
import struct
from typing import Any

import pytest

from warren.aggregator.curves import curves_png
from warren.aggregator.results import average_metrics, metrics_csv, outcome_of
from warren.storage.documents import Entry, Evaluation, Manifest


def manifest(number: int, **fields: Any) -> Manifest:
    entries = tuple(
        Entry(client=f"c{n}", source="pool.p", attempt="a", digest="0" * 64, size=1, examples=10 + n) for n in range(3)
    )
    return Manifest(job="j", round=number, **({"entries": entries, "asked": 4, "quorum": 3} | fields))


def evaluation(number: int, **fields: Any) -> Evaluation:
    return Evaluation(job="j", round=number, **fields)


def rows(manifests: list[Manifest], evaluations: list[Evaluation]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(metrics_csv(map(outcome_of, manifests), evaluations).decode())))


def test_accuracies_average_to_what_counting_all_examples_gives() -> None:
    hits, examples = (3, 90, 7), (4, 100, 50)
    clients = [(n, {"accuracy": hit / n}) for hit, n in zip(hits, examples, strict=True)]
    assert average_metrics(clients)["accuracy"] == pytest.approx(sum(hits) / sum(examples), rel=1e-15)


def test_a_metric_counts_where_it_is_reported_and_finite() -> None:
    clients = [(10, {"loss": 1.0, "f1": 0.5}), (30, {"loss": 2.0}), (5, {"loss": float("nan")}), (0, {"loss": 9.0})]
    assert average_metrics(clients) == {"f1": 0.5, "loss": 1.75}
    assert average_metrics([]) == {}


def test_the_table_has_one_row_a_round_in_order() -> None:
    manifests = [manifest(2, rejected={"c3": "NaN"}, seconds=1.25), manifest(0), manifest(1, metrics={"loss": 0.1})]
    found = rows(manifests, [evaluation(1, held_out={"accuracy": 0.9}, validation={"loss": 0.3})])
    assert [row["round"] for row in found] == ["0", "1", "2"]
    assert found[2]["rejected"] == "1"
    assert found[2]["seconds"] == "1.250"
    assert (found[1]["train_loss"], found[1]["held_out_accuracy"], found[1]["validation_loss"]) == ("0.1", "0.9", "0.3")
    assert found[2]["held_out_accuracy"] == ""
    assert (found[1]["valid"], found[1]["examples"], found[1]["quorum"]) == ("3", "33", "3")


def test_numbers_in_the_table_read_back_exactly() -> None:
    value = 0.1 + 0.2
    assert float(rows([manifest(1, metrics={"loss": value})], [])[0]["train_loss"]) == value


def test_a_metrics_name_can_not_break_the_table() -> None:
    found = rows([manifest(1, metrics={'a,"b\n': 1.0})], [])
    assert found[0]['train_a,"b\n'] == "1.0"


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_curves_are_a_picture_however_many_rounds_there_were(count: int) -> None:
    manifests = [manifest(number, metrics={"loss": 1 / (number + 1)}) for number in range(count)]
    evaluations = [evaluation(number, held_out={"loss": 0.5, "accuracy": 0.1}) for number in range(count)]
    image = curves_png(manifests, evaluations, title="digits")
    assert image.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", image[16:24])
    assert (width, height) == (1300, 832)


def test_what_a_peer_named_or_measured_can_not_break_the_curves() -> None:
    odd = {"loss": float("inf"), r"$\frac{": 1.0}
    assert curves_png([manifest(1, metrics=odd)], [evaluation(1, held_out=odd)], title="$x^", metric="none")


def test_equal_results_are_equal_pictures() -> None:
    told = [manifest(1, metrics={"loss": 0.5})], [evaluation(1, held_out={"accuracy": 0.5})]
    assert curves_png(*told, title="a") == curves_png(*told, title="a")


def test_who_is_still_out_of_an_asynchronous_job_is_not_drawn_as_lost() -> None:
    some_out, all_in = [manifest(1, asked=5)], [manifest(1, asked=1)]
    for told, alike in ((some_out, False), (all_in, True)):
        pictures = {curves_png(told, [], title="a", asynchronous=out) for out in (False, True)}
        assert (len(pictures) == 1) is alike
