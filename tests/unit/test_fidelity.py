"""The harness of benchmarks/fidelity: what a curve says, what is run again, what is chosen on which data."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MODULES = ("cell", "experiment", "mcmahan", "catalogue", "stragglers")


@pytest.fixture
def fidelity(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports a module of the benchmarks as their own scripts do; forgets them all afterwards."""
    before = set(sys.modules)
    for folder in (BENCHMARKS, BENCHMARKS / "fidelity", BENCHMARKS / "fidelity" / "tasks"):
        monkeypatch.syspath_prepend(folder)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_a_crossing_lies_between_rounds_on_the_curve_made_monotone(fidelity: Any) -> None:
    crossing = fidelity("cell").crossing
    assert crossing([(1, 0.5), (2, 0.9)], 0.7) == pytest.approx(1.5)
    assert crossing([(1, 0.6), (2, 0.4), (3, 0.8)], 0.7) == pytest.approx(2.5)  # from 0.6, the best so far
    assert crossing([(4, 0.5), (8, 0.9)], 0.7) == pytest.approx(6.0)
    assert crossing([(1, 0.5), (2, 0.6)], 0.7) is None


def test_the_test_data_are_read_at_the_checkpoint_that_validation_chose(fidelity: Any) -> None:
    cell = fidelity("cell")
    curves = {"validation accuracy": [(1, 0.5), (2, 0.8), (3, 0.8)], "test accuracy": [(1, 0.9), (2, 0.7), (3, 0.95)]}
    assert cell.at_best_validation(cell.Result("", curves)) == (2, 0.7)


def made(fidelity: Any, jobs: list[dict[str, Any]]) -> Any:
    """An experiment of these jobs, each its own cell; the second is ready when the first is found."""
    cell, experiment = fidelity("cell"), fidelity("experiment")

    def cells(size: str, found: Any) -> list[Any]:
        return [cell.Cell(job["name"], job, 1.0, ready=not number or bool(found)) for number, job in enumerate(jobs)]

    return experiment.Experiment("any", "Any", cells, lambda size, found: "", lambda size, found, path: None)


def test_a_stopped_run_goes_on_with_the_cells_that_are_missing(fidelity: Any, tmp_path: Path) -> None:
    cell, experiment = fidelity("cell"), fidelity("experiment")
    jobs = [{"name": "a", "task": "mnist"}, {"name": "b", "task": "mnist"}]
    done: list[str] = []

    def run_one(one: Any) -> Any:
        if one.name == "b" and done == ["a"]:
            done.append("stopped")
            raise KeyboardInterrupt
        done.append(one.name)
        return cell.Result(one.digest, {"test accuracy": [(1, 0.5)]}, ended="done")

    path = tmp_path / "any.json"
    with pytest.raises(KeyboardInterrupt):
        experiment.run(made(fidelity, jobs), "short", path, run_one, str)
    found = experiment.run(made(fidelity, jobs), "short", path, run_one, str)
    assert done == ["a", "stopped", "b"]
    assert found["b"].curves == experiment.load(path)["b"].curves == {"test accuracy": [(1, 0.5)]}


def test_a_cell_whose_job_changed_is_run_again(fidelity: Any, tmp_path: Path) -> None:
    cell, experiment = fidelity("cell"), fidelity("experiment")
    done: list[float] = []

    def run_one(one: Any) -> Any:
        done.append(one.job["lr"])
        return cell.Result(one.digest)

    for rate in (0.1, 0.1, 0.2):
        jobs = [{"name": "a", "task": "mnist", "lr": rate}]
        experiment.run(made(fidelity, jobs), "short", tmp_path / "any.json", run_one, str)
    assert done == [0.1, 0.2]


def test_every_experiment_has_cells_that_are_jobs_and_a_table_before_anything_is_found(fidelity: Any) -> None:
    from warren.cli.jobfile import Draft, resolve_job

    for one in fidelity("catalogue").EXPERIMENTS.values():
        for size in ("smoke", "short", "full"):
            cells = one.cells(size, {})
            assert len({cell.name for cell in cells}) == len(cells) > 0
            assert any(cell.ready for cell in cells)
            for cell in cells:
                if one.run_cell is None:  # else it is run by rules of its own
                    resolve_job(Draft(dict(cell.job), Path()))
        assert one.table("short", {}).startswith("|")


def test_a_rate_is_chosen_by_validation_after_equally_many_rounds(fidelity: Any) -> None:
    cell, mcmahan = fidelity("cell"), fidelity("mcmahan")
    row = mcmahan.Row("2nn", "iid", 0.5)
    tuning = mcmahan.tuning_cells(row.tuned_as, "full")
    assert len({one.job["rounds"] for one in tuning}) == 1
    assert len(tuning) >= 3
    assert all(not one.job["evaluate"]["held_out"] for one in tuning)
    found = {}
    for one, score in zip(tuning, (0.5, 0.9, 0.7, 0.6), strict=True):
        assert mcmahan.chosen_rate(row, "full", found) is None
        found[one.name] = cell.Result(one.digest, {"validation accuracy": [(30, score)]})
    assert mcmahan.chosen_rate(row, "full", found) == tuning[1].job["train"]["lr"]
    assert all(one.ready for one in mcmahan.final_cells(row, "full", found))


def test_stragglers_are_a_share_of_those_that_are_asked_and_differ_by_round(fidelity: Any) -> None:
    stragglers = fidelity("stragglers").stragglers
    first, second = stragglers(30, 10, 1, 1, 0.9), stragglers(30, 10, 1, 2, 0.9)
    assert len(first) == len(second) == 9
    assert first != second
    assert stragglers(30, 10, 1, 1, 0.0) == frozenset()


def test_in_simulated_time_the_bound_decides_who_waits_and_the_seed_all_else(fidelity: Any) -> None:
    asynchrony, simulated = fidelity("asynchrony"), fidelity("simulated_time")
    targets = {client: torch.full((8,), float(n)) for n, client in enumerate(asynchrony.spec_of(0, 0).client_names)}
    taken = dict.fromkeys(targets, 1.0) | {"c003": 10.0}

    def run(bound: int | str) -> Any:
        job = simulated.SimulatedJob(
            asynchrony.spec_of(0, bound),
            torch.zeros(8),
            lambda client, nth, weights: weights - targets[client],
            lambda client, nth: taken[client],
        )
        for now in job.run():
            if now >= 60.0:
                break
        return job

    waiting, ahead, free = run(0), run(2), run("inf")
    assert waiting.version == 6  # of the slow one's pace
    expected = 1.5 * (1 - 0.9**6)  # so many steps of 0.1 along the mean gradient
    assert torch.allclose(waiting.weights, torch.full((8,), expected), atol=1e-6)
    assert len(waiting.counted) < len(ahead.counted) < len(free.counted)
    assert max(free.counted) > max(ahead.counted) > max(waiting.counted) == 0
    assert torch.equal(run("inf").weights, free.weights)
