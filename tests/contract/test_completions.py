"""What the news promises, in memory and on streams: what is appended is read, once, in order, at once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import fakeredis
import pytest
import redis

from warren.broker import completions, memory_news
from warren.broker.completions import News, NewsItem, connect
from warren.broker.memory_news import MemoryNews
from warren.broker.messages import MESSAGE_BYTES_MAX, Completion, decode

POOL = "pool.default"
AnyNews = News | MemoryNews

PATIENCE = 10.0  # seconds that an answer may take


@pytest.fixture(params=["memory", "fakeredis", "redis"])
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis | None]:
    """What the news stands in; None: in this process's memory."""
    if request.param == "memory":
        yield None
        return
    if request.param == "fakeredis":
        made: redis.Redis = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    else:
        made = connect(request.getfixturevalue("redis_url"))
    yield made
    made.close()


@pytest.fixture
def news(client: redis.Redis | None) -> AnyNews:
    return MemoryNews() if client is None else News(client)


on_streams = pytest.mark.parametrize("client", ["fakeredis", "redis"], indirect=True)


@pytest.fixture
def job() -> str:
    return f"job-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


def _completion(job: str, client: str = "c0") -> Completion:
    return Completion(job=job, round=1, kind="train", client=client, attempt="a1", outcome="updated")


def _clients(items: list[NewsItem]) -> list[str]:
    return [decode(item.body, Completion).client for item in items]


def _blocked_reader(
    news: AnyNews, client: redis.Redis | None, job: str, threads: ThreadPoolExecutor
) -> Future[list[NewsItem]]:
    """A thread that waits in `read`; over the wire, once the server says that it does."""
    reading = threads.submit(news.read, job, [POOL], {}, PATIENCE)
    until = time.monotonic() + PATIENCE
    while client is not None and not isinstance(client, fakeredis.FakeRedis) and not _blocked(client):
        assert time.monotonic() < until
        time.sleep(0.005)
    return reading


def _blocked(client: redis.Redis) -> list[str]:
    """The ids of the connections that wait in a blocking command."""
    return [entry["id"] for entry in client.client_list() if "b" in entry["flags"]]


def test_what_was_appended_is_read_in_order_from_the_start(news: AnyNews, job: str) -> None:
    names = [f"c{number}" for number in range(5)]
    for name in names:
        news.append(_completion(job, name), POOL)
    items = news.read(job, [POOL], {}, 0)
    assert _clients(items) == names
    assert {item.source for item in items} == {POOL}


def test_only_what_came_after_the_last_id_is_read(news: AnyNews, job: str) -> None:
    news.append(_completion(job, "c0"), POOL)
    seen = news.read(job, [POOL], {POOL: "0-0"}, 0)[-1].id
    assert news.read(job, [POOL], {POOL: seen}, 0) == []
    news.append(_completion(job, "c1"), POOL)
    assert _clients(news.read(job, [POOL], {POOL: seen}, 0)) == ["c1"]


def test_each_source_has_a_stream_of_its_own(news: AnyNews, job: str) -> None:
    news.append(_completion(job, "a"), "site.a")
    news.append(_completion(job, "b"), "site.b")
    items = news.read(job, ["site.a", "site.b"], {}, 0)
    assert {item.source: decode(item.body, Completion).client for item in items} == {
        "site.a": "a",
        "site.b": "b",
    }
    assert [item.source for item in news.read(job, ["site.b"], {}, 0)] == ["site.b"]


def test_jobs_do_not_read_each_others_news(news: AnyNews, job: str) -> None:
    news.append(_completion(job), POOL)
    news.nudge(job)
    assert news.read(f"{job}-b", [POOL], {}, 0) == []


def test_a_nudge_is_read_as_control(news: AnyNews, job: str) -> None:
    news.nudge(job)
    (nudge,) = news.read(job, [POOL], {}, 0)
    assert nudge.source == "control"
    assert news.read(job, [POOL], {"control": nudge.id}, 0) == []


def test_a_reader_wakes_at_once(news: AnyNews, client: redis.Redis, job: str, threads: ThreadPoolExecutor) -> None:
    reading = _blocked_reader(news, client, job, threads)
    assert not reading.done()
    appended = time.monotonic()
    news.append(_completion(job), POOL)
    assert _clients(reading.result(PATIENCE)) == ["c0"]
    assert time.monotonic() - appended < 1.0  # a poll that misses it would wait PATIENCE


def test_a_nudge_wakes_a_reader_too(news: AnyNews, client: redis.Redis, job: str, threads: ThreadPoolExecutor) -> None:
    reading = _blocked_reader(news, client, job, threads)
    news.nudge(job)
    assert [item.source for item in reading.result(PATIENCE)] == ["control"]


@on_streams
def test_a_reader_that_waits_survives_a_wipe(
    news: AnyNews, client: redis.Redis, job: str, threads: ThreadPoolExecutor
) -> None:
    news.append(_completion(job, "lost"), "site.a")
    reading = _blocked_reader(news, client, job, threads)
    client.flushdb()
    news.append(_completion(job, "after"), POOL)
    assert _clients(reading.result(PATIENCE)) == ["after"]


def test_a_reader_gives_up_after_its_timeout_and_not_before(news: AnyNews, job: str) -> None:
    began = time.monotonic()
    assert news.read(job, [POOL], {}, 0.2) == []
    assert 0.2 <= time.monotonic() - began < 2.0


@on_streams
def test_a_reader_waits_on_the_server_and_does_not_poll(
    news: AnyNews, client: redis.Redis, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    execute = client.execute_command
    monkeypatch.setattr(client, "execute_command", lambda *parts: asked.append(parts) or execute(*parts))
    assert news.read(job, [POOL], {}, 0.3) == []
    assert len(asked) <= 2


def test_a_wait_longer_than_one_block_goes_on(news: AnyNews, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "BLOCK_SECONDS_MAX", 0.05)
    began = time.monotonic()
    assert news.read(job, [POOL], {}, 0.3) == []
    assert time.monotonic() - began >= 0.3


def test_nothing_is_lost_or_doubled_with_many_writers(news: AnyNews, job: str, threads: ThreadPoolExecutor) -> None:
    names = [f"c{number:03}" for number in range(200)]
    sent = [threads.submit(news.append, _completion(job, name), POOL) for name in names]
    read: list[str] = []
    after = {POOL: "0-0"}
    until = time.monotonic() + PATIENCE
    while len(read) < len(names) and time.monotonic() < until:
        items = news.read(job, [POOL], after, 1.0)
        read += _clients(items)
        after[POOL] = items[-1].id if items else after[POOL]
    assert all(future.result(PATIENCE) is None for future in sent)
    assert sorted(read) == names


def test_one_read_is_bounded_and_the_next_goes_on(news: AnyNews, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (completions, memory_news):
        monkeypatch.setattr(module, "READ_ITEMS_MAX", 6)
    for number in range(7):
        news.append(_completion(job, f"c{number}"), POOL)
    first = news.read(job, [POOL], {}, 0)
    second = news.read(job, [POOL], {POOL: first[-1].id}, 0)
    assert (len(first), len(second)) == (3, 3)
    assert _clients(first + second) == [f"c{number}" for number in range(6)]


def test_trimming_takes_what_was_read_and_leaves_the_rest(news: AnyNews, job: str) -> None:
    for number in range(4):
        news.append(_completion(job, f"c{number}"), POOL)
    items = news.read(job, [POOL], {}, 0)
    news.trim(job, POOL, items[1].id)
    assert _clients(news.read(job, [POOL], {}, 0)) == ["c2", "c3"]
    news.trim(job, POOL, items[3].id)
    assert news.read(job, [POOL], {}, 0) == []


def test_trimming_what_is_not_there_does_nothing(news: AnyNews, job: str) -> None:
    news.trim(job, POOL, "18446744073709551614-18446744073709551615")
    news.trim(job, "control", "5-3")
    assert news.read(job, [POOL], {}, 0) == []


def test_forgetting_a_job_leaves_the_others(news: AnyNews, job: str) -> None:
    for name in (job, f"{job}-b"):
        news.append(_completion(name), POOL)
        news.append(_completion(name), "site.a")
        news.nudge(name)
    news.forget(job)
    assert news.read(job, [POOL, "site.a"], {}, 0) == []
    assert len(news.read(f"{job}-b", [POOL, "site.a"], {}, 0)) == 3


@on_streams
def test_streams_are_bounded_and_go_away_when_nobody_appends(
    news: AnyNews, client: redis.Redis, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completions, "COMPLETIONS_MAX", 100)
    for _ in range(450):
        news.append(_completion(job), POOL)
    stream = f"completions:{job}:{POOL}"
    assert 100 <= client.xlen(stream) <= 300  # Redis trims in blocks of a hundred
    assert 0 < client.ttl(stream) <= completions.STREAM_IDLE_SECONDS


@on_streams
@pytest.mark.parametrize("body", [b"", b"\xff\x00rubbish", b"x" * (MESSAGE_BYTES_MAX + 10)])
def test_an_unreadable_body_is_handed_on_with_its_source(
    news: AnyNews, client: redis.Redis, job: str, body: bytes
) -> None:
    client.xadd(f"completions:{job}:{POOL}", {"m": body})
    (item,) = news.read(job, [POOL], {}, 0)
    assert (item.source, item.body) == (POOL, body[: MESSAGE_BYTES_MAX + 1])


@on_streams
def test_an_entry_without_a_body_is_handed_on_empty(news: AnyNews, client: redis.Redis, job: str) -> None:
    client.xadd(f"completions:{job}:{POOL}", {"other": "field"})
    assert news.read(job, [POOL], {}, 0)[0].body == b""


def test_news_in_memory_is_bounded(job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_news, "COMPLETIONS_MAX", 100)
    news = MemoryNews()
    news.append_all([_completion(job, f"c{number:03}") for number in range(120)], POOL)
    assert _clients(news.read(job, [POOL], {}, 0)) == [f"c{number:03}" for number in range(20, 120)]
