"""Addresses: what wins over what, where secrets come from, and that they are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from warren.cli.context import resolve, without_secret
from warren.cli.errors import UsageMistake
from warren.cli.main import call

SECRET = "gehe/im:@1"
FILE = """\
current = "lab"
[contexts.lab]
amqp = "amqp://me@mq.lab:5672/fed"
amqp_password = { env = "MQ_SECRET" }
redis = "rediss://redis.lab:6380/1"
redis_password = { command = "echo hush" }
s3 = "https://s3.lab"
s3_access_key = "me"
s3_secret_key = { file = "FOLDER/secret" }
[contexts.home]
s3_bucket = "home"
"""


@pytest.fixture
def contexts(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET + "\n")
    path = tmp_path / "contexts.toml"
    path.write_text(FILE.replace("FOLDER", str(tmp_path)))
    return path


def test_without_anything_the_servers_of_this_machine_are_meant(tmp_path: Path) -> None:
    addresses = resolve({}, {}, tmp_path / "none.toml")
    assert addresses.shown() == {
        "amqp": "amqp://guest:***@127.0.0.1:5672/",
        "redis": "redis://127.0.0.1:6379/0",
        "s3": "http://127.0.0.1:9000",
        "bucket": "warren",
    }


def test_an_option_wins_over_the_environment_and_that_over_the_context(contexts: Path) -> None:
    environment = {"MQ_SECRET": SECRET, "WARREN_S3": "https://env", "WARREN_REDIS": "redis://env"}
    addresses = resolve({"s3": "https://option"}, environment, contexts)
    assert addresses.s3 == "https://option"
    assert addresses.redis == "redis://:hush@env"
    assert addresses.amqp == "amqp://me:gehe%2Fim%3A%401@mq.lab:5672/fed"
    assert addresses.secret_key == SECRET


def test_a_context_is_chosen_by_option_then_environment_then_use(contexts: Path) -> None:
    assert resolve({"context": "home"}, {"WARREN_CONTEXT": "lab"}, contexts).bucket == "home"
    assert resolve({}, {"WARREN_CONTEXT": "home"}, contexts).bucket == "home"
    with pytest.raises(UsageMistake, match="MQ_SECRET"):
        resolve({}, {}, contexts)


def test_every_setting_may_come_from_a_file(contexts: Path, tmp_path: Path) -> None:
    environment = {
        "WARREN_S3_ACCESS_KEY": "a",
        "WARREN_S3_SECRET_KEY_FILE": str(tmp_path / "secret"),
        "WARREN_AMQP_PASSWORD_FILE": str(tmp_path / "secret"),
    }
    addresses = resolve({}, environment, tmp_path / "none.toml")
    assert (addresses.access_key, addresses.secret_key) == ("a", SECRET)
    assert addresses.amqp == "amqp://guest:gehe%2Fim%3A%401@127.0.0.1:5672/"


def test_no_secret_is_ever_shown(contexts: Path) -> None:
    addresses = resolve({}, {"MQ_SECRET": SECRET}, contexts)
    for shown in (repr(addresses), str(addresses.shown()), without_secret(addresses.amqp)):
        assert SECRET not in shown
        assert "gehe" not in shown
        assert "hush" not in shown


@pytest.mark.parametrize(
    ("given", "environment", "text", "expected"),
    [
        ({"context": "lap"}, {}, FILE, "no context 'lap' in .*; did you mean 'lab'?"),
        ({}, {}, "[contexts.lab", "contexts.toml: "),
        ({}, {}, 'current = "a"\n[contexts.a]\namqpp = "x"', "contexts.a.amqpp: no such setting; did you mean 'amqp'?"),
        ({}, {}, 'current = "a"\n[contexts.a]\namqp_password = "x"', "stands open in the context file"),
        ({}, {}, 'current = "a"\n[contexts.a]\nredis_password = { command = "false" }', "ended with 1"),
        ({}, {}, 'current = "a"\n[contexts.a]\nredis_password = { command = "/no/such" }', "did not run"),
        ({}, {}, 'current = "a"\n[contexts.a]\nredis_password = { file = "/no/such" }', "can't read /no/such"),
        ({"amqp": "http://x"}, {}, "", "amqp: 'http://x' is not an address such as 'amqp://host:5672/'."),
        ({"amqp": "amqp://u:hush@"}, {}, "", r"amqp: 'amqp://u:\*\*\*@' is not an address"),
        ({"redis": "redis://x:port"}, {}, "", "redis: 'redis://x:port' is not an address"),
        ({"s3": "https://s3.lab"}, {}, "", "no credentials for the object store: set WARREN_S3_ACCESS_KEY"),
        ({}, {"WARREN_S3_ACCESS_KEY": "a"}, "", "set WARREN_S3_SECRET_KEY"),
    ],
)
def test_a_mistake_in_addresses_says_what_and_how_to_mend_it(
    tmp_path: Path, given: dict[str, str | None], environment: dict[str, str], text: str, expected: str
) -> None:
    path = tmp_path / "contexts.toml"
    path.write_text(text)
    with pytest.raises(UsageMistake, match=expected.replace("?", r"\?")) as caught:
        resolve(given, environment, path)
    assert "hush" not in str(caught.value)


def test_contexts_are_added_used_and_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config" / "contexts.toml"
    monkeypatch.setenv("WARREN_CONFIG", str(path))
    monkeypatch.setenv("LAB_SECRET", SECRET)
    lab = ["--amqp", "amqp://me@mq.lab", "--amqp-password", "env:LAB_SECRET", "--bucket", "fed"]
    assert call(["context", "add", "lab", *lab]) == 0
    assert call(["context", "add", "home", "--redis", "redis://home"]) == 0
    assert call(["context", "add", "lab", "--redis", "redis://lab"]) == 0
    assert path.stat().st_mode & 0o077 == 0
    capsys.readouterr()
    assert call(["context", "show"]) == 0
    shown = capsys.readouterr().out
    assert "amqp://me:***@mq.lab" in shown
    assert "redis://lab" in shown
    assert call(["context", "use", "home"]) == 0
    assert call(["context", "list"]) == 0
    assert SECRET not in shown + capsys.readouterr().out
    assert call(["context", "use", "hume"]) == 2
    assert "did you mean 'home'?" in capsys.readouterr().err
    assert call(["context", "add", "x", "--amqp", "amqp://me:hush@mq"]) == 2
    assert call(["context", "add", "x", "--redis-password", "hush"]) == 2
    assert "hush" not in capsys.readouterr().err
