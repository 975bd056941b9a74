"""How a command ends: the exit codes, and one line for each error a person can mend."""

from __future__ import annotations

from ..broker.errors import BrokerError, BrokerRefused, BrokerUnavailable
from ..storage.errors import SpecInvalid, StorageError, StorageRefused, StorageUnavailable
from ..trainer.errors import TrainerError

DONE = 0
FAILED = 1  # the job failed or was cancelled, or the command could not do what was asked
USAGE = 2  # a mistake in the options, the job file or the context
WAITS = 3  # the job is paused, and waits for a person
UNREACHABLE = 4  # a server does not answer, or refuses these credentials
INTERRUPTED = 130

EXIT_CODES = (
    "Exit codes: 0 done; 1 the job failed or was cancelled, or the command could not do it; 2 a mistake in "
    "options, job file or context; 3 the job is paused and waits for you; 4 a server does not answer or "
    "refuses the credentials; 130 interrupted."
)


class CliError(Exception):
    """Something a person can mend; its words are shown as they are."""

    exit_code = FAILED


class UsageMistake(CliError):
    """The options, the job file or the context say something that can't be."""

    exit_code = USAGE


def exit_code_of(error: Exception) -> int | None:
    """The exit code of an error whose words are fit to be shown alone; None for one that nobody expected."""
    if isinstance(error, CliError):
        return error.exit_code
    if isinstance(error, SpecInvalid):
        return USAGE
    if isinstance(error, BrokerUnavailable | BrokerRefused | StorageUnavailable | StorageRefused):
        return UNREACHABLE
    if isinstance(error, BrokerError | StorageError | TrainerError):
        return FAILED
    return None
