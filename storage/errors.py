"""What can go wrong with things at rest, by what the caller can do about it."""


class StorageError(Exception):
    """Base of the room's errors; its words are shown to a person as they are."""


class StorageUnavailable(StorageError):
    """Nothing answers, or it refuses for now (full, read-only, starting): try again."""


class StorageRefused(StorageError):
    """The store or Redis answers and says no (credentials, rights, bucket): a person must mend it."""


class ObjectMissing(StorageError):
    """No object has this key."""


class ObjectDamaged(StorageError):
    """The bytes are not what their name, digest or format says: set it aside, with this reason."""


class NeverWhole(StorageError):
    """A file that was to be stored while it was written will not be finished: there is nothing to store."""


class SpecInvalid(StorageError):
    """The job file or spec has a mistake: the message names the field, the value, the bound, the mend."""


class KeyRefused(StorageError, ValueError):
    """A key or metadata that no store takes (`..`, absolute, too long, not plain text)."""
