"""Redis in this room's errors: StorageUnavailable, and StorageRefused."""

from __future__ import annotations

import redis

from ..links import redis_link
from .errors import StorageRefused, StorageUnavailable

_ERRORS = redis_link.Errors(unavailable=StorageUnavailable, refused=StorageRefused)


def connect(url: str) -> redis.Redis:
    """As `links.redis_link.connect`. Raises StorageRefused."""
    return redis_link.connect(url, _ERRORS)


class RedisLink(redis_link.RedisLink):
    """As `links.redis_link.RedisLink`. Raises StorageUnavailable, StorageRefused."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client, _ERRORS)
