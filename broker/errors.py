"""What can go wrong between here and the broker or Redis, by what the caller can do about it."""


class BrokerError(Exception):
    """Base of the room's errors; its words are shown to a person as they are."""


class BrokerUnavailable(BrokerError):
    """Nothing answers, or the connection broke: try again."""


class BrokerRefused(BrokerError):
    """The server answers and says no (credentials, rights, a queue of another shape): a person must mend it."""


class MessageUnreadable(BrokerError):
    """The bytes are not a message that this version reads: set it aside, with this reason."""
