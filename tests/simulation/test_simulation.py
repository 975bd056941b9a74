"""Nothing lost, whatever dies: the promises of the design over many seeds of crashes, lost messages and lies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from simulation.ending import undisturbed
from simulation.faults import KINDS
from simulation.many import play_many, report
from simulation.mutants import HARMLESS, MUTANTS, Mutant, broken, first_seed
from simulation.play import play, scene_of

FLOW_SEEDS = 150
SEEDS = 300  # of a plain run; `make simulate` runs 10,000
QUICKLY_CAUGHT = 200
QUICK = [mutant for mutant in MUTANTS[:6] if mutant.name != "listing before a deadline"]  # `make mutants` tries all


def test_whatever_dies_nothing_is_lost_counted_twice_or_changed(
    seed: int | None, seeds: int | None, flows: bool, request: pytest.FixtureRequest
) -> None:
    if seed is not None:
        played = play(seed, trace=True, flows=flows)
        print("\n".join(played.trace))
        assert played.violation is None, report([(seed, played.violation or "")], flows=flows)
        return
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        tally = play_many(seeds or SEEDS, loud=seeds is not None, flows=flows)
    print(tally)
    assert not tally.failures, "\n" + report(tally.failures, flows=flows)
    assert set(tally.kinds) == set(KINDS), "a kind of fault was never on"
    assert {"done", "cancel", "fail"} <= set(tally.ends)


def test_an_undisturbed_run_ends_done_with_the_bytes_that_its_seed_implies() -> None:
    for number in range(12):
        played = play(number, disturbed=False)
        assert played.violation is None
        assert set(played.ends) == {"done"}
        scene = scene_of(number)
        for spec, final in zip(scene.specs, played.finals, strict=True):
            if scene.exact:
                assert final == undisturbed(spec)


def test_the_same_holds_of_asynchronous_jobs() -> None:
    tally = play_many(FLOW_SEEDS, loud=False, flows=True)
    assert not tally.failures, "\n" + report(tally.failures, flows=True)
    assert {"done", "cancel", "fail"} <= set(tally.ends)


def test_undisturbed_ssp_with_a_bound_of_0_comes_to_the_bytes_of_rounds() -> None:
    exact = [number for number in range(40) if scene_of(number, flows=True).exact]
    assert exact
    for number in exact:
        played = play(number, disturbed=False, flows=True)
        assert set(played.ends) == {"done"}
        for spec, final in zip(scene_of(number, flows=True).specs, played.finals, strict=True):
            assert final == undisturbed(spec)


def test_a_seed_gives_the_same_trace_in_every_process() -> None:
    code = "import sys; from simulation.play import play; print(*play(int(sys.argv[1]), trace=True).trace, sep='\\n')"
    here = Path(__file__).parent.parent
    runs = [
        subprocess.run(
            [sys.executable, "-c", code, "17"],
            env={"PYTHONPATH": str(here), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert runs[0].splitlines() == list(play(17, trace=True).trace)


@pytest.mark.parametrize("mutant", QUICK, ids=lambda mutant: mutant.name)
def test_a_broken_promise_is_noticed(mutant: Mutant) -> None:
    caught = first_seed(mutant, QUICKLY_CAUGHT)
    assert caught is not None, f"without {mutant.name}, {QUICKLY_CAUGHT} seeds notice nothing"


def test_without_leases_two_aggregators_lead_at_once_and_nothing_breaks() -> None:
    with broken(HARMLESS):
        assert [(number, found) for number in range(60) if (found := play(number).violation)] == []


def test_a_failing_seed_is_told_as_one_command_with_the_faults_that_it_takes() -> None:
    create_once = MUTANTS[0]
    caught = first_seed(create_once)
    assert caught is not None
    with broken(create_once):
        told = report([caught])
    assert told.startswith(f"FAILED simulation seed {caught[0]}: ")
    assert f"replay: pytest tests/simulation --seed {caught[0]}" in told
    assert "created once and changed" in told.splitlines()[3]
