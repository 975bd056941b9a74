"""What a leader needs around it: the adapters, the numbers, and its hold on the job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from ..broker.completions import NewsItem
from ..broker.messages import Completion
from ..broker.ports import Broker
from ..storage.documents import Base, Entry, Evaluation, Manifest
from ..storage.job import JobSpec
from ..storage.keys import UpdateName
from ..storage.objects import ObjectStore
from ..storage.ports import Ledger

Stage = Literal["committed", "evaluated", "best", "final"]  # how far a model got


class UpdateRejected(Exception):
    """The update was read and does not count; the words say why, and stand in the manifest."""


class News(Protocol):
    """The streams of completions; see `broker.completions.News`."""

    def append(self, completion: Completion, source: str) -> None: ...
    def nudge(self, job: str) -> None: ...
    def read(
        self, job: str, sources: Sequence[str], after: Mapping[str, str], timeout_seconds: float
    ) -> list[NewsItem]: ...
    def trim(self, job: str, source: str, up_to_id: str) -> None: ...
    def forget(self, job: str) -> None: ...


class Numbers(Protocol):
    """The tensors of a job: reading updates whole, folding them, writing checkpoints.

    Raises (each verb): StorageUnavailable, StorageRefused as the store does.
    """

    def base(self, job: str, round_number: int) -> Base:
        """Key, digest and size of a round's checkpoint. Raises ObjectMissing."""
        ...

    def server(self, job: str, round_number: int) -> Base | None:
        """The strategy's state beside a round's checkpoint, likewise; None where it has none."""
        ...

    def examine(self, name: UpdateName, spec: JobSpec, base: Base | None, digest: str | None, size: int = 0) -> Entry:
        """Read an update whole, and say what it is. `size` is what it is said to have, in bytes; 0: nobody said.

        Raises:
            UpdateRejected: it does not count, and why.
            ObjectMissing: nothing has this key.
        """
        ...

    def offer(self, spec: JobSpec, round_number: int, entry: Entry, order: tuple[str, ...]) -> None:
        """This update counts; fold ahead if all before it in the order are in. Only makes `write` quicker."""
        ...

    def prepare(self, spec: JobSpec, manifest: Manifest) -> None:
        """This manifest may stand soon; nothing leaves this process. Only makes `write` quicker, of this very one."""
        ...

    def made(self, spec: JobSpec, manifest: Manifest) -> tuple[Base, Base | None] | None:
        """What `write` will create where nobody else does: checkpoint, strategy's state. None: nothing is prepared."""
        ...

    def write(self, spec: JobSpec, manifest: Manifest) -> None:
        """Create the checkpoint (before it, the optimizer's state) that the manifest implies; repeatable by anyone.

        Raises:
            ObjectMissing, ObjectDamaged: something frozen is not there as it was; named.
        """
        ...

    def forget(self, job: str) -> None:
        """Nobody here leads the job any more: let go of its memory and files."""
        ...

    def copy(self, key: str, to: str, *, tag: str | None, metadata: Mapping[str, str]) -> bool:
        """Copy an object: once (tag None), or over the one that has this tag. False: another was first."""
        ...


class Hold(Protocol):
    """A leader's hold on its job, kept up by somebody else."""

    @property
    def held(self) -> bool: ...
    @property
    def epoch(self) -> str: ...


class Stop(Protocol):
    """What ends a service: a threading.Event, or a simulated one."""

    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...


T = TypeVar("T")
Out = TypeVar("Out", covariant=True)


class Begun(Protocol[Out]):
    """A call that was begun."""

    @property
    def done(self) -> bool:
        """Whether its result is there, or nothing goes on before it is asked for."""
        ...

    def __call__(self) -> Out:
        """Its result, once it has ended. Raises what it raised."""
        ...

    def drop(self) -> None:
        """Nobody asks for its result any more: what goes on may end, what did not begin need not."""
        ...


class Begin(Protocol):
    """Begins a call beside what its caller does next."""

    def __call__(self, call: Callable[[], T], /) -> Begun[T]: ...


@dataclass(frozen=True, slots=True)
class WhenAsked(Generic[T]):
    """Begins nothing: the call is made when its result is asked for."""

    call: Callable[[], T]

    @property
    def done(self) -> bool:
        return True

    def __call__(self) -> T:
        return self.call()

    def drop(self) -> None:
        pass


Draw = Callable[[JobSpec, Iterable[Manifest], Sequence[Evaluation]], Mapping[str, tuple[bytes, str]]]


@dataclass(frozen=True, slots=True)
class House:
    """Everything that a leader talks to."""

    store: ObjectStore
    broker: Broker
    news: News
    ledger: Ledger
    numbers: Numbers
    name: str  # of this aggregator, for people
    nonce: str  # of its leases
    wall_clock: Callable[[], str]  # for people only: no decision reads it
    draw: Draw
    # ^ the derived files of a job: name -> (bytes, content type)
    label: Callable[[JobSpec, Stage, int], None] = lambda spec, stage, round_number: None
    # ^ told that the model of a round got so far; returns at once and raises nothing
    begin: Begin = WhenAsked
