"""A look at the control documents that is begun before it is needed, beside what has to be done first anyway."""

from __future__ import annotations

from ..storage.errors import StorageError
from .events import ControlState
from .patience import Patience
from .ports import Begun, House
from .record import Record


class Glance:
    """One job's. It begins after the news that it follows was heard, and serves for one decision."""

    def __init__(self, house: House, record: Record, patiently: Patience) -> None:
        self._house = house
        self._record = record
        self._patiently = patiently
        self._begun: Begun[ControlState] | None = None

    def begin(self) -> None:
        """Something follows that takes time, and then a decision: look meanwhile."""
        self._begun = self._house.begin(self._record.control)

    def drop(self) -> None:
        """What was begun is too old for what comes now."""
        self._begun = None

    def __call__(self) -> ControlState:
        """The control, as it was after `begin`; without one, as it is now. However long the store takes."""
        begun, self._begun = self._begun, None
        if begun is not None:
            try:
                return begun()
            except StorageError:
                pass  # asked again, with patience
        return self._patiently(self._record.control)
