"""Options of the simulation: one seed, replayed with its trace; or many."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simulation")
    group.addoption("--seed", type=int, default=None, help="replay one seed and print its trace")
    group.addoption("--seeds", type=int, default=None, help="how many seeds to run, over all cores")
    group.addoption("--flows", action="store_true", help="the seed, or the many, of asynchronous jobs")


@pytest.fixture
def flows(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--flows", default=False))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int | None:
    chosen: int | None = request.config.getoption("--seed", default=None)
    return chosen


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> int | None:
    chosen: int | None = request.config.getoption("--seeds", default=None)
    return chosen


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With a seed, or many, only the test that runs them."""
    if config.getoption("--seed", default=None) is None and config.getoption("--seeds", default=None) is None:
        return
    rest = [item for item in items if "seed" not in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=rest)
    items[:] = [item for item in items if item not in rest]
