"""Federated evaluation: how unequal a model serves its clients, in documents, table, picture and screens."""

from __future__ import annotations

import csv
import io
import math
import statistics
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from warren.aggregator.answers import Answer
from warren.aggregator.curves import curves_png
from warren.aggregator.evaluation import Pending, summarise
from warren.aggregator.results import metrics_csv, outcome_of
from warren.aggregator.spread import CLIENT_ROWS_MAX, spread_of, spreads
from warren.cli.changes import changes
from warren.cli.display import render
from warren.cli.main import call
from warren.cli.status import StatusReader
from warren.storage import keys
from warren.storage.documents import Base, ClientResult, Control, Evaluation, Manifest, read_document, write_document
from warren.storage.folder import FolderStore
from warren.storage.job import JobSpec, make_spec, write_spec
from warren.storage.objects import DOCUMENT_BYTES_MAX

TASK = {"name": "t", "file": "t.py", "digest": "0" * 64}
BASE = Base(key="k", digest="0" * 64, size=1)


def spec(**fields: object) -> JobSpec:
    return make_spec({"job": "j", "task": TASK, "rounds": 2, **fields})


def evaluated(results: dict[str, ClientResult], **fields: object) -> Evaluation:
    pending = Pending(BASE, frozenset(("evaluate", client) for client in results), 0.0)
    pending.results.update({("evaluate", c): Answer(result.examples, result.metrics) for c, result in results.items()})
    return summarise(spec(**fields), 1, pending, "now")


def clients(*accuracies: float) -> dict[str, ClientResult]:
    return {
        f"c{number:05}": ClientResult(examples=10 * (number + 1), metrics={"accuracy": value, "loss": 1 - value})
        for number, value in enumerate(accuracies)
    }


def test_quartiles_and_deviation_are_those_of_numpy() -> None:
    values = np.random.default_rng(1).normal(size=37)
    found = spread_of({f"c{number}": value for number, value in enumerate(values)}, lower_better=False)
    assert [found.min, found.q1, found.median, found.q3, found.max] == pytest.approx(
        np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist()
    )
    assert found.deviation == pytest.approx(values.std())
    assert found.worst_decile == pytest.approx(np.sort(values)[:4].mean()), "a tenth of 37, rounded up"


def test_of_a_loss_the_highest_are_the_worst_and_of_other_metrics_the_lowest() -> None:
    found = spreads(clients(0.5, 0.9, 0.7))
    assert (found["accuracy"].worst, found["accuracy"].worst_decile) == ("c00000", 0.5)
    assert (found["loss"].worst, found["loss"].worst_decile) == ("c00000", 0.5)
    assert (found["accuracy"].max, found["loss"].min) == (0.9, pytest.approx(0.1))


def test_each_client_counts_alike_whatever_its_examples() -> None:
    document = evaluated(clients(0.0, 0.0, 0.9))
    assert document.validation["accuracy"] == pytest.approx(0.45)  # by examples: 10, 20, 30
    assert document.spread["accuracy"].median == 0.0
    assert statistics.fmean(row.metrics["accuracy"] for row in document.clients.values()) == pytest.approx(0.3)


def test_what_is_not_finite_is_left_out_and_what_is_huge_breaks_nothing() -> None:
    odd = {"a": math.nan, "b": math.inf, "c": 1.0, "d": 3.0}
    results = {name: ClientResult(examples=1, metrics={"m": value, "big": 1.7e308}) for name, value in odd.items()}
    results["e"] = ClientResult(examples=1, metrics={"big": -1.7e308})
    document = evaluated(results)
    assert (document.spread["m"].clients, document.spread["m"].median) == (2, 2.0)
    assert document.spread["big"].worst == "e"
    again = read_document(Evaluation, write_document(document), "k")
    assert again.spread == document.spread
    assert curves_png([], [document], title="t", metric="big").startswith(b"\x89PNG")


def test_of_too_many_clients_the_worst_are_written_down_and_the_spread_is_over_all() -> None:
    count = CLIENT_ROWS_MAX + 500
    document = evaluated(clients(*(number / count for number in range(count))))
    assert list(document.clients) == [f"c{number:05}" for number in range(CLIENT_ROWS_MAX)]
    assert document.spread["accuracy"].clients == count
    assert document.spread["accuracy"].max == pytest.approx((count - 1) / count)


def test_a_hundred_thousand_clients_that_fail_at_length_fit_into_a_document() -> None:
    pending = Pending(BASE, frozenset(("evaluate", f"c{number:05}") for number in range(100_000)), 0.0)
    pending.failed.update(dict.fromkeys(pending.asked, "x" * 20_000))
    body = write_document(summarise(spec(), 1, pending, "now"))
    assert len(body) < DOCUMENT_BYTES_MAX / 10
    assert read_document(Evaluation, body, "k").missing["others"] == f"{100_000 - CLIENT_ROWS_MAX} more"


def test_evaluations_of_before_are_read_without_a_spread() -> None:
    old = b'{"job": "j", "round": 1, "validation": {"loss": 1.0}, "clients": {"c0": {"examples": 1, "metrics": {}}}}'
    assert read_document(Evaluation, old, "k").spread == {}


def test_the_table_has_the_spread_beside_the_mean() -> None:
    document = evaluated(clients(0.5, 0.9, 0.7))
    manifests = [Manifest(job="j", round=number, entries=()) for number in (0, 1)]
    rows = list(csv.DictReader(io.StringIO(metrics_csv(map(outcome_of, manifests), [document]).decode())))
    assert float(rows[1]["clients_accuracy_worst_decile"]) == 0.5
    assert float(rows[1]["clients_accuracy_median"]) == 0.7
    assert rows[0]["clients_accuracy_min"] == "", "not measured"


def test_curves_show_the_spread() -> None:
    manifests = [Manifest(job="j", round=number, entries=()) for number in (1, 2)]
    wide, one = evaluated(clients(0.2, 0.9, 0.7)), evaluated(clients(0.6))
    without = wide.model_copy(update={"spread": {}})
    assert curves_png(manifests, [wide], title="t") != curves_png(manifests, [without], title="t")
    assert curves_png(manifests, [one], title="t") == curves_png(
        manifests, [one.model_copy(update={"spread": {}})], title="t"
    ), "one client has none"


@pytest.fixture
def shown(tmp_path: Path) -> SimpleNamespace:
    store = FolderStore(tmp_path)
    store.create(keys.spec("j"), write_spec(spec()))
    store.create(keys.manifest("j", 1), write_document(Manifest(job="j", round=1, entries=())))
    store.create(keys.evaluation("j", 1), write_document(evaluated(clients(0.5, 0.9, 0.7))))
    store.create(keys.control("j", 1), write_document(Control(command="done", reason="1 round")))
    return SimpleNamespace(folder=str(tmp_path), status=StatusReader(store, "j").read())


def test_the_display_names_the_worst_served_client(shown: SimpleNamespace) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=False, color_system=None)
    console.print(render(shown.status))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "accuracy 0.5 to 0.9 over 3 clients, worst tenth 0.5 (c00000)" in text


def test_a_jobs_page_shows_the_spread_of_each_metric(
    shown: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["job", "show", "j", "--store", shown.folder]) == 0
    lines = capsys.readouterr().out.splitlines()
    (accuracy,) = [line.split() for line in lines if line.startswith("accuracy")]
    assert accuracy == ["accuracy", "0.5", "0.6", "0.7", "0.8", "0.9", "0.163", "0.5", "c00000"]
    assert max(len(line) for line in lines if "/" not in line) <= 80


def test_watchers_that_are_programs_get_the_spread(shown: SimpleNamespace) -> None:
    (told,) = [change for change in changes(None, shown.status) if change.event == "evaluation"]
    assert told.as_json("j")["spread"]["accuracy"]["worst"] == "c00000"
