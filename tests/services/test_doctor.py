"""`warren doctor` on real servers: silent where all is right; each thing that is wrong named with its mend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis
from servers.rabbit import RabbitServer
from servers.s3_server import S3Bucket

from warren.cli.main import call

pytestmark = pytest.mark.services

Found = list[dict[str, str]]


@pytest.fixture
def servers(amqp_url: str, redis_url: str, s3: S3Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The addresses, as a person has them in the environment."""
    for name, value in {
        "AMQP": amqp_url,
        "REDIS": redis_url,
        "S3": s3.url,
        "S3_BUCKET": s3.bucket,
        "S3_ACCESS_KEY": s3.access_key,
        "S3_SECRET_KEY": s3.secret_key,
        "CONFIG": str(tmp_path / "contexts.toml"),
        "RABBITMQ_API": "http://127.0.0.1:9",  # nobody's, unless a test says so
    }.items():
        monkeypatch.setenv(f"WARREN_{name}", value)


@pytest.fixture
def managed(rabbit: RabbitServer, servers: None, monkeypatch: pytest.MonkeyPatch) -> RabbitServer:
    monkeypatch.setenv("WARREN_RABBITMQ_API", f"http://127.0.0.1:{rabbit.api_port}")
    return rabbit


def look(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Found]:
    capsys.readouterr()
    code = call(["doctor", *words, "--json"])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def of(found: Found, *levels: str) -> list[str]:
    return [f"{one['server']}: {one['seen']} -> {one['change']}" for one in found if one["level"] in levels]


def test_where_all_is_right_nothing_is_wrong(managed: RabbitServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["setup"]) == 0
    code, found = look(capsys)
    assert (code, of(found, "wrong", "unreachable")) == (0, [])
    said = " | ".join(of(found, "ok"))
    assert "RabbitMQ" in said
    assert "create-once and replace-if-unchanged are honoured" in said
    assert "no alarms" in said, of(found, "note")
    assert "its clock is within" in said


def test_it_leaves_nothing_behind(
    servers: None, s3: S3Bucket, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    look(capsys)
    assert call(["job", "gc", "--json"]) == 0
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys("warren:lease:*") == []


def test_what_a_job_lacks_is_named_with_its_mend(
    servers: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARREN_CONSUMER_TIMEOUT", "30m")
    code, found = look(capsys, "digits", "--set", "deadline=2h", "--set", "pool=gpu")
    wrong = " | ".join(of(found, "wrong"))
    assert code == 1
    assert "no queue submissions.v1, rounds.v1.pool.gpu" in wrong
    assert "Run `warren setup --pool gpu`" in wrong
    assert "no trainer takes from pool gpu -> Start one with `warren trainer start --pool gpu`" in wrong
    assert "no aggregator is there" in wrong
    assert "deadline 2h is longer than RabbitMQ lets a round job be held (30m)" in wrong
    assert "WARREN_CONSUMER_TIMEOUT=4h" in wrong


def test_a_redis_that_evicts_is_wrong(servers: None, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", "256mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            code, found = look(capsys)
        finally:
            client.config_set("maxmemory", "0")
            client.config_set("maxmemory-policy", "noeviction")
    assert code == 1
    (wrong,) = [one for one in of(found, "wrong") if one.startswith("redis")]
    assert "maxmemory-policy allkeys-lru deletes keys" in wrong
    assert "CONFIG SET maxmemory-policy noeviction" in wrong


def test_a_policy_that_drops_messages_is_wrong(
    managed: RabbitServer, amqp_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["setup"]) == 0
    host = amqp_url.rpartition("/")[2]
    policy = {"pattern": "^rounds", "definition": {"message-ttl": 60000}, "apply-to": "queues"}
    managed.api("PUT", f"policies/{host}/short", policy)
    code, found = look(capsys)
    assert code == 1
    assert "rounds.v1.pool.default: policy 'short' drops messages (message-ttl 60000)" in " ".join(of(found, "wrong"))


def test_servers_that_do_not_answer_or_refuse_end_with_4_and_no_secret_is_shown(
    servers: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WARREN_REDIS", "redis://:hunter2@127.0.0.1:9/0")
    monkeypatch.setenv("WARREN_S3_SECRET_KEY", "not-the-one-hunter2")
    code, found = look(capsys)
    assert code == 4
    gone = of(found, "unreachable")
    assert [one.partition(":")[0] for one in gone] == ["redis", "store"]
    assert "WARREN_S3_SECRET_KEY" in gone[1]
    assert "hunter2" not in json.dumps(found)


def test_without_the_management_api_what_is_not_known_is_said(
    servers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = look(capsys)
    assert code == 1  # no queues yet
    assert any(
        "alarms and policies are not known" in note and "WARREN_RABBITMQ_API" in note for note in of(found, "note")
    )


def test_people_read_it_at_80_columns(managed: RabbitServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["setup"]) == 0
    capsys.readouterr()
    assert call(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1].startswith("Nothing is wrong.")
    assert max(map(len, shown.splitlines())) <= 80
