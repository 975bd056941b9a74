"""How many cases: hypothesis's default in `make test`; over 100,000 in all with the profile of `make fuzz`."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

FUZZ_EXAMPLES = 6_000  # of each test that names no number of its own

settings.register_profile(
    "fuzz", max_examples=FUZZ_EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
