"""The door to Redis: connecting, trying again within a bound, its errors in the words of the room that asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.retry import Retry

RETRY_SECONDS_MAX = 5.0  # of one verb, over all its attempts; callers have loops of their own
PAUSE_SECONDS = 0.05  # after the first failure; twice that after each further one
PAUSE_SECONDS_MAX = 1.0
SOCKET_SECONDS = 10.0  # silence after which a connection counts as lost; above any one blocking read
CONNECT_SECONDS = 5.0
SCAN_COUNT = 1000  # keys that the server looks at for one answer
WORDS_MAX = 300  # characters of a server's answer that are passed on

_CREDENTIALS = (AuthenticationError, AuthenticationWrongNumberOfArgsError)
_RIGHTS = (AuthorizationError, NoPermissionError)
_FOR_NOW = (
    redis.ConnectionError,
    redis.TimeoutError,
    ReadOnlyError,
    ClusterDownError,
    TryAgainError,
    OSError,
)
_FOR_NOW_WORDS = ("BUSY ", "MISCONF ", "NOREPLICAS ", "UNBLOCKED ", "LOADING ", "MASTERDOWN ")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Errors:
    """What a room raises: when asking again may help, and when only a person can mend it."""

    unavailable: type[Exception]
    refused: type[Exception]


def connect(url: str, errors: Errors) -> redis.Redis:
    """A client whose connections are made when first used.

    Silence of `SOCKET_SECONDS` breaks a connection, also in a blocking read: a network that drops without a
    word is noticed. redis-py's own retries are off; `RedisLink.ask` tries again.

    Raises:
        errors.refused: the address is none that Redis can have.
    """
    try:
        return redis.Redis.from_url(
            url,
            protocol=2,
            socket_timeout=SOCKET_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        # The words of the error are not passed on: they may hold part of the address, and with it a password.
        raise errors.refused(
            "redis address can't be read. Write redis://host:6379/0, rediss:// for TLS, or unix:///path"
        ) from None


class RedisLink:
    """Asks Redis, again and again within `RETRY_SECONDS_MAX`, and turns its errors into the room's."""

    def __init__(self, client: redis.Redis, errors: Errors) -> None:
        self._client: Any = client  # redis-py's types cover half of it
        self._errors = errors
        self.address = address_of(client)

    def command(self, *parts: Any) -> Any:
        """The answer to one command, with redis-py's reading of it. Raises as `ask`."""
        return self.ask(lambda: self._client.execute_command(*parts))

    def commands(self, questions: Sequence[Sequence[Any]], *, tolerant: bool = False) -> list[Any]:
        """The answers to many commands in one round trip. Raises as `ask`; tolerant: errors are answers."""

        def send() -> list[Any]:
            pipe = self._client.pipeline(transaction=False)
            for parts in questions:
                pipe.execute_command(*parts)
            answers = list(pipe.execute(raise_on_error=False))  # redis-py's raising would quote the arguments
            for answer in answers:
                if isinstance(answer, RedisError) and not tolerant:
                    raise answer
            return answers

        return self.ask(send)

    def scan(self, pattern: str) -> Iterator[str]:
        """The keys like this, some perhaps twice. Raises as `ask`."""
        cursor = 0
        while True:
            cursor, keys = self.command("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT)
            yield from (key.decode("utf-8", "replace") for key in keys)
            if not cursor:
                return

    def ask(self, question: Callable[[], _T]) -> _T:
        """The answer to a question that may be asked twice.

        Raises:
            errors.unavailable: no answer within the bound, or a server that can't serve for now.
            errors.refused: credentials, rights, or an answer that asking again won't change.
        """
        give_up = time.monotonic() + RETRY_SECONDS_MAX
        pause = PAUSE_SECONDS
        while True:
            try:
                return question()
            except (RedisError, OSError) as error:
                words = in_our_words(self.address, error, self._errors)
                if isinstance(words, self._errors.refused) or time.monotonic() + pause > give_up:
                    raise words from error
            time.sleep(pause)
            pause = min(2 * pause, PAUSE_SECONDS_MAX)


def address_of(client: redis.Redis) -> str:
    """Host and port, or the socket's path: for messages, so without user and password."""
    settings = client.connection_pool.connection_kwargs
    return str(settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}")


def in_our_words(address: str, error: RedisError | OSError, errors: Errors) -> Exception:
    """The room's error for one of redis-py's: what the caller can do about it, and how to mend it."""
    said = str(error)[:WORDS_MAX]
    if isinstance(error, _CREDENTIALS) or said.startswith(("NOAUTH", "WRONGPASS")):
        return errors.refused(f"redis at {address} refuses the user or password. Mend them in its address")
    if isinstance(error, _RIGHTS) or said.startswith("NOPERM"):
        return errors.refused(f"redis at {address}: {said}. Give the user that right (ACL SETUSER)")
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return errors.refused(f"redis at {address} shows a certificate that is not trusted here: {said}")
    if isinstance(error, OutOfMemoryError) or said.startswith("OOM"):
        return errors.unavailable(f"redis at {address} is full (maxmemory). Raise maxmemory, or free memory")
    if isinstance(error, _FOR_NOW) or said.startswith(_FOR_NOW_WORDS):
        return errors.unavailable(f"redis at {address}: {said}")
    return errors.refused(f"redis at {address} answers: {said}")
