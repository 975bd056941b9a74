"""One connection to RabbitMQ: a thread with pika's loop, and how it comes back after it breaks."""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Protocol, TypeVar

import pika
from pika.adapters.select_connection import IOLoop
from pika.exceptions import AMQPError, ChannelClosed

from .errors import BrokerError, BrokerRefused, BrokerUnavailable

CONNECT_SECONDS_MAX = 15.0  # a verb waits so long for a connection
ATTEMPT_SECONDS_MAX = 10.0  # name, TCP, TLS and AMQP handshake of one attempt
ANSWER_SECONDS_MAX = 30.0  # declaring a quorum queue on a loaded cluster takes seconds
CLOSE_SECONDS_MAX = 5.0  # a broker under an alarm does not answer a close
HEARTBEAT_SECONDS = 30  # the loop's thread answers it while a step trains
BACKOFF_SECONDS_MIN, BACKOFF_SECONDS_MAX = 0.1, 5.0

_REFUSALS = {402, 403, 404, 405, 406, 530}  # AMQP reply codes that trying again does not change
_CLOSED_BY_BROKER = re.compile(r"ConnectionClosedByBroker: \((\d+)\) ['\"](.*?)['\"]")
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Listener(Protocol):
    """What lives on a link. Both verbs are called on the loop's thread and must not block."""

    def up(self, session: Session) -> None: ...
    def down(self, reason: BrokerError) -> None: ...


class Session:
    """One life of the connection. Only `post` and `wait_for` may be called from other threads."""

    def __init__(self, loop: Any) -> None:
        self.connection: Any = None
        self._loop = loop
        self._alive = True
        self._waiting: set[Future[Any]] = set()
        self._lock = threading.Lock()

    def post(self, act: Callable[[], object]) -> None:
        """Run `act` on the loop's thread; nothing happens once this life is over."""
        with self._lock:
            if self._alive:
                self._loop.add_callback_threadsafe(lambda: self._run(act))

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """Run `act` on the loop's thread after so long. Called on that thread."""
        self._loop.call_later(seconds, lambda: self._run(act))

    def wait_for(self, answer: Future[Any]) -> None:
        """Fail this answer if the connection breaks before it comes."""
        with self._lock:
            if self._alive:
                self._waiting.add(answer)
                answer.add_done_callback(self._waiting.discard)
                return
        settle(answer, error=_Lost("the connection broke"))

    def stop(self) -> None:
        """Say goodbye, and leave the loop even if nobody answers. Called on the loop's thread."""
        self._loop.call_later(CLOSE_SECONDS_MAX, self._loop.stop)
        if self.connection is None or self.connection.is_closed:
            self._loop.stop()
        elif not self.connection.is_closing:
            self.connection.close()

    def end(self) -> None:
        with self._lock:
            self._alive = False
            waiting, self._waiting = self._waiting, set()
        for answer in list(waiting):  # each takes itself out of the set when it is settled
            settle(answer, error=_Lost("the connection broke"))

    def _run(self, act: Callable[[], object]) -> None:
        try:
            act()
        except AMQPError as error:  # the channel or connection closed under it: its own callback tells the rest
            _log.debug("the connection changed under a call: %r", error)


class Link:
    """A connection that heals itself. It starts with its first verb; threads share it."""

    def __init__(self, parameters: Any, address: str, connect_seconds: float) -> None:
        """Takes the address as errors name it, without credentials, and how long a verb waits to connect."""
        self.address, self.connect_seconds = address, connect_seconds
        self._parameters = parameters
        self._listeners: list[Listener] = []
        self._changed = threading.Condition()
        self._attempt: Session | None = None  # connecting or open
        self._session: Session | None = None  # open
        self._failure: BrokerError | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        with self._changed:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._live, name="rabbitmq", daemon=True)
                self._thread.start()

    def add(self, listener: Listener) -> None:
        """From now on the listener hears of each life of the connection, the present one first."""
        with self._changed:
            self._listeners.append(listener)
            session = self._session
            if session is not None:
                session.post(lambda: listener.up(session))
        self.start()

    def remove(self, listener: Listener) -> None:
        with self._changed:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def post(self, act: Callable[[], object]) -> None:
        """Run `act` on the loop's thread, if the connection is open."""
        with self._changed:
            if self._session is not None:
                self._session.post(act)

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """As `post`, after so long; not if the connection breaks before."""
        with self._changed:
            session = self._session
            if session is not None:
                session.post(lambda: session.later(seconds, act))

    def session(self, deadline: float) -> Session:
        """The open connection; waits for it until `deadline` (of time.monotonic).

        Raises:
            BrokerRefused: the last attempt was turned away; attempts go on in the background.
            BrokerUnavailable: none came in time.
        """
        self.start()
        with self._changed:
            while self._session is None:
                if isinstance(self._failure, BrokerRefused):
                    raise BrokerRefused(str(self._failure))
                remaining = deadline - time.monotonic()
                if self._closing.is_set() or remaining <= 0:
                    raise BrokerUnavailable(self._words())
                self._changed.wait(remaining)
            return self._session

    def ask(self, question: Callable[[Session, Future[_T]], None], seconds: float = ANSWER_SECONDS_MAX) -> _T:
        """Put a question on the loop's thread and wait for its answer; again after a lost connection."""
        deadline = time.monotonic() + seconds
        while True:
            session = self.session(min(deadline, time.monotonic() + self.connect_seconds))
            answer: Future[_T] = Future()
            session.wait_for(answer)
            session.post(lambda s=session, a=answer: question(s, a))  # type: ignore[misc]
            try:
                return answer.result(max(0.0, deadline - time.monotonic()))
            except _Lost as error:
                if time.monotonic() >= deadline:
                    raise BrokerUnavailable(f"{self.address} gave no answer in {seconds:.0f} s: {error}") from None
            except FutureTimeout:
                raise BrokerUnavailable(f"{self.address} gave no answer in {seconds:.0f} s") from None

    def close(self) -> None:
        """Close the connection; returns within about CLOSE_SECONDS_MAX."""
        with self._changed:
            self._closing.set()
            self._failure = None
            attempt, thread = self._attempt, self._thread
            self._changed.notify_all()
        if attempt is not None:
            attempt.post(attempt.stop)
        if thread is not None:
            thread.join(CLOSE_SECONDS_MAX + 1)

    def _words(self) -> str:
        if self._closing.is_set():
            return f"the connection to {self.address} was closed"
        return str(self._failure or f"{self.address} does not answer")

    def _live(self) -> None:
        pause = BACKOFF_SECONDS_MIN
        while not self._closing.is_set():
            opened = self._attempt_once()
            pause = BACKOFF_SECONDS_MIN if opened else min(BACKOFF_SECONDS_MAX, pause * 2)
            self._closing.wait(pause * random.uniform(0.5, 1.0))  # trainers must not come back in step

    def _attempt_once(self) -> bool:
        loop = IOLoop()
        session = Session(loop)
        outcome: list[BrokerError] = []

        def over(_: Any, error: BaseException) -> None:
            outcome.append(failure(error, self.address))
            loop.stop()

        try:
            with self._changed:
                self._attempt = session
            session.connection = pika.SelectConnection(
                self._parameters,
                on_open_callback=lambda _: self._opened(session),
                on_open_error_callback=over,
                on_close_callback=over,
                custom_ioloop=loop,
            )
            if not self._closing.is_set():
                loop.start()
        except Exception:  # a mistake of ours or pika's costs this connection, not the thread
            _log.exception("the connection to %s failed within", self.address)
        opened = self._session is session
        self._ended(session, outcome[0] if outcome else BrokerUnavailable(f"{self.address}: connection closed"))
        loop.close()
        return opened

    def _opened(self, session: Session) -> None:
        _log.info("connected to %s", self.address)
        with self._changed:
            self._session, self._failure = session, None
            listeners = list(self._listeners)
            self._changed.notify_all()
        for listener in listeners:
            listener.up(session)

    def _ended(self, session: Session, reason: BrokerError) -> None:
        if self._session is session and not self._closing.is_set():
            _log.warning("lost the connection to %s (%s); connecting again", self.address, reason)
        session.end()
        with self._changed:
            self._session, self._attempt, self._failure = None, None, reason
            listeners = list(self._listeners)
            self._changed.notify_all()
        for listener in listeners:
            listener.down(reason)


class _Lost(BrokerUnavailable):
    """The connection broke before the answer came."""


def settle(answer: Future[Any], result: Any = None, error: BaseException | None = None) -> None:
    """Answer once; a second answer does nothing."""
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)


def failure(error: BaseException, address: str) -> BrokerError:
    """What a broken connection means for the caller, in words without credentials."""
    text = _deepest(error)
    found = _CLOSED_BY_BROKER.search(text)
    if found and int(found[1]) == 403:
        return BrokerRefused(f"{address} refuses the user or the password. Check both in the broker's address.")
    if found and int(found[1]) == 530:
        return BrokerRefused(f"{address}: {found[2][:200]}. Make the vhost, or give the user rights to it.")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return BrokerRefused(
            f"{address}: its certificate is not trusted. Give the file of the authority that signed it."
        )
    if "IncompatibleProtocol" in text or "WRONG_VERSION_NUMBER" in text:
        return BrokerUnavailable(f"{address} does not speak AMQP. Is TLS (amqps://, port 5671) on one side only?")
    return BrokerUnavailable(f"{address} does not answer: {found[2] if found else text}"[:400])


def channel_failure(reason: BaseException, address: str) -> BrokerError:
    """What a channel that the server closed means for the caller."""
    if not isinstance(reason, ChannelClosed):
        return _Lost("the connection broke")
    text = str(reason.reply_text)[:300]
    if reason.reply_code not in _REFUSALS or "down or inaccessible" in text:
        return BrokerUnavailable(f"{address}: {text}")
    if reason.reply_code == 406 and "inequivalent arg" in text:
        text += ". The queue was made with other arguments: delete it, or use another vhost."
    return BrokerRefused(f"{address}: {text}")


def _deepest(error: BaseException) -> str:
    """pika wraps the cause several times; the innermost says it."""
    for inner in (*getattr(error, "exceptions", ())[-1:], getattr(error, "exception", None), *error.args[:1]):
        if isinstance(inner, BaseException):
            return _deepest(inner)
    if isinstance(error, AMQPError) and not (error.args and isinstance(error.args[0], str)):
        return repr(error)  # holds the reply code
    return f"{type(error).__name__}: {error}"
