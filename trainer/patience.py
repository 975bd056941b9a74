"""Calling the servers until they answer, as long as anybody wants what comes of it."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import TypeVar

from ..broker.errors import BrokerRefused, BrokerUnavailable
from ..broker.messages import RoundJob
from ..storage.errors import StorageRefused, StorageUnavailable
from .ports import Stop
from .standing import Standing

RETRY_SECONDS_FIRST = 0.2
RETRY_SECONDS_MAX = 5.0

log = logging.getLogger("warren.trainer")

T = TypeVar("T")


class HandBack(Exception):
    """The work ends here without a result: the trainer stops, or nobody wants the work any more."""


class Patience:
    """One thread's."""

    def __init__(self, stop: Stop, standing: Standing) -> None:
        self._stop = stop
        self._standing = standing

    def __call__(self, job: RoundJob | None, call: Callable[..., T], *args: object) -> T:
        """Call until the servers answer. Raises HandBack when the trainer stops, or the work is not wanted any more."""
        wait = RETRY_SECONDS_FIRST
        while True:
            try:
                return call(*args)
            except (StorageUnavailable, StorageRefused, BrokerUnavailable, BrokerRefused) as error:
                log.warning("waits, and tries again: %s", error, extra=fields_of(job) if job else {})
                if self._stop.wait(wait * random.uniform(0.5, 1.0)):
                    raise HandBack("stopping") from None
                if job is not None and not self._standing.wanted(job):
                    raise HandBack("no longer wanted") from None
                wait = min(RETRY_SECONDS_MAX, 2 * wait)


def fields_of(job: RoundJob) -> dict[str, object]:
    """What a line of the log says beside its words."""
    return {"job": job.job, "round": job.round, "client": job.client}
