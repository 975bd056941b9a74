"""`warren doctor` with a site's own account on real servers: what it needs, and what it may not see."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from services.member import WARREN
from services.sites import A, House

pytestmark = pytest.mark.services


def doctor(bundle: dict[str, str], *words: str) -> tuple[int, list[dict[str, str]]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WARREN_")}
    done = subprocess.run(
        [str(WARREN), "doctor", *words, "--json"],
        env={**environment, **bundle, "WARREN_CONFIG": os.devnull},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def seen_as(found: list[dict[str, str]], *levels: str) -> str:
    return " | ".join(f"{one['server']}: {one['seen']} -> {one['change']}" for one in found if one["level"] in levels)


def test_a_sites_doctor_finds_nothing_wrong_and_says_what_it_may_not_see(house: House) -> None:
    code, found = doctor(house.bundles[A])
    assert (code, seen_as(found, "wrong", "unreachable")) == (0, "")
    said = seen_as(found, "ok")
    assert f"rabbitmq: rounds.v1.site.{A}: 0 round jobs wait" in said
    assert "a trainer of this site may say that it is there" in said
    assert f"the updates of site {A} may be listed" in said
    assert f"this is the account of site {A}" in seen_as(found, "note")


def test_a_sites_doctor_names_the_server_whose_credentials_are_wrong(house: House) -> None:
    bundle = house.bundles[A]
    wrong = {
        "rabbitmq": ("WARREN_AMQP", bundle["WARREN_AMQP"].replace("@", "x@")),
        "redis": ("WARREN_REDIS", bundle["WARREN_REDIS"].replace("@", "x@")),
        "store": ("WARREN_S3_SECRET_KEY", "another"),
    }
    for server, (name, value) in wrong.items():
        code, found = doctor({**bundle, name: value})
        assert code == 4
        assert [one["server"] for one in found if one["level"] == "unreachable"] == [server]
        assert value not in str(found)


def test_a_sites_doctor_says_when_a_job_does_not_ask_the_site(house: House) -> None:
    code, found = doctor(house.bundles[A], "synthetic")
    assert code == 1
    assert f"site: the job asks pool default, not site {A}" in seen_as(found, "wrong")
