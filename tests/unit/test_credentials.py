"""The credentials of an installation: random, made once, each reader's apart; and what the accounts may do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from warren.cli.credentials_made import FOLDERS, ROLES, Places, make_credentials
from warren.cli.errors import CliError
from warren.cli.rights import of_aggregator, of_operator, of_pool_trainers, of_site

PLACES = Places("amqp://rabbitmq:5672/", "redis://redis:6379/0", "warren")


def texts(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def test_what_was_made_is_never_overwritten_and_what_is_missing_is_made_from_the_same_secrets(tmp_path: Path) -> None:
    assert make_credentials(tmp_path, PLACES) > 0
    before = texts(tmp_path)
    assert make_credentials(tmp_path, PLACES) == 0
    (tmp_path / "trainer" / "amqp").unlink()
    assert make_credentials(tmp_path, PLACES) == 1
    assert texts(tmp_path) == before


def test_two_installations_share_no_secret(tmp_path: Path) -> None:
    secrets = []
    for name in ("one", "two"):
        make_credentials(tmp_path / name, PLACES)
        secrets += json.loads((tmp_path / name / "admin" / "secrets.json").read_text()).values()
    assert len(set(secrets)) == len(secrets)
    assert all(len(word) >= 32 for word in secrets)


def test_no_folder_holds_the_secret_of_another_party(tmp_path: Path) -> None:
    make_credentials(tmp_path, PLACES)
    words = json.loads((tmp_path / "admin" / "secrets.json").read_text())
    allowed = {"minio": {"admin"}, "redis": {"health"}, "rabbitmq": set(), **{role: {role} for role in ROLES}}
    for folder in set(FOLDERS) - {"admin"}:
        held = "".join(path.read_text() for path in (tmp_path / folder).iterdir())
        assert {role for role, word in words.items() if word in held} == allowed[folder], folder


def test_without_the_administrators_secrets_nothing_is_made_beside_what_others_hold(tmp_path: Path) -> None:
    make_credentials(tmp_path, PLACES)
    for path in (tmp_path / "admin").iterdir():
        path.unlink()
    with pytest.raises(CliError, match="hold credentials"):
        make_credentials(tmp_path, PLACES)


def test_guests_and_nameless_users_are_off(tmp_path: Path) -> None:
    make_credentials(tmp_path, PLACES)
    assert (tmp_path / "redis" / "users.acl").read_text().startswith("user default off\n")
    users = json.loads((tmp_path / "rabbitmq" / "definitions.json").read_text())["users"]
    assert {user["name"] for user in users} == {f"warren-{role}" for role in ROLES}


@pytest.mark.parametrize("other", ["st-mary-b", "b-st-mary", "st", "general"])
def test_a_sites_queues_are_matched_whole_not_by_their_start(other: str) -> None:
    rights = of_site("st-mary", "warren")
    assert re.search(rights.read, "rounds.v1.site.st-mary")
    assert not re.search(rights.read, f"rounds.v1.site.{other}")
    assert not re.search(rights.read, "rounds.v1.pool.st-mary")


def test_no_account_but_the_aggregators_and_the_operators_may_write_to_an_exchange_or_delete() -> None:
    for rights in (of_site("a", "warren"), of_pool_trainers("warren")):
        assert rights.write == rights.configure == "^$"
        assert "DeleteObject" not in json.dumps(rights.policy)
        assert not {"+unlink", "+del", "+@write", "+@all"} & set(rights.redis)
    assert "amq" in of_aggregator("warren").write
    assert "amq" in of_operator("warren").write
