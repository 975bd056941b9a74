"""Redis in this room's errors: BrokerUnavailable, and BrokerRefused."""

from __future__ import annotations

import redis

from ..links import redis_link
from .errors import BrokerRefused, BrokerUnavailable

_ERRORS = redis_link.Errors(unavailable=BrokerUnavailable, refused=BrokerRefused)


def connect(url: str) -> redis.Redis:
    """As `links.redis_link.connect`. Raises BrokerRefused."""
    return redis_link.connect(url, _ERRORS)


class RedisLink(redis_link.RedisLink):
    """As `links.redis_link.RedisLink`. Raises BrokerUnavailable, BrokerRefused."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client, _ERRORS)
