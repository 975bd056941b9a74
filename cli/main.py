"""`warren`: finds the command, imports only that one, and turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import click

from .. import __version__
from .errors import EXIT_CODES, FAILED, INTERRUPTED, USAGE, exit_code_of
from .lazy import LazyGroup, Place

COMMANDS = {
    "run": Place(".run", "run", "Train a federated model on this machine, without any server."),
    "submit": Place(".submit", "submit", "Hand a job to the aggregators, and print its id."),
    "watch": Place(".watch", "watch", "Follow a job; Ctrl-C only detaches."),
    "new": Place(".new", "new", "Write a task and a job file that run as they are."),
    "check": Place(".check", "check", "Run one batch of a task on this machine, and say what was seen."),
    "job": Place(".job", "job", "Look at jobs, command them, fork, verify and remove them."),
    "checkpoint": Place(".checkpoint", "checkpoint", "List, fetch, evaluate and compare the models of a job."),
    "trainer": Place(".trainer", "trainer", "Start a trainer, list or drain those that are there."),
    "aggregator": Place(".aggregator", "aggregator", "Start an aggregator, or list those that are there."),
    "dead-letter": Place(".dead_letter", "dead_letter", "Round jobs that died: list, show, send again, drop."),
    "site": Place(".site", "site", "Accounts of sites on the three servers: add, list, revoke, rotate."),
    "credentials": Place(".credentials", "credentials", "The logins of the consoles; make an installation's."),
    "doctor": Place(".doctor", "doctor", "Look the servers over, and say what to change."),
    "setup": Place(".setup", "setup", "Make the bucket and the queues; can be repeated."),
    "context": Place(".contexts", "context", "Named sets of addresses: list, show, use, add."),
    "completion": Place(".completion", "completion", "Print what makes a shell complete words of this command."),
}


EXAMPLES = "\b\nExamples:\n  warren run digits --rounds 20\n  warren submit job.toml --follow"


@click.group(
    cls=LazyGroup,
    places=COMMANDS,
    package=__package__,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "auto_envvar_prefix": "WARREN",  # every option also from the environment: WARREN_RUN_ROUNDS
    },
    epilog=f"{EXAMPLES}\n\n{EXIT_CODES}",
)
@click.version_option(__version__, "--version", message="warren %(version)s")
@click.option("--debug", is_flag=True, envvar="WARREN_DEBUG", help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Federated learning that runs on RabbitMQ, Redis and MinIO."""


def main() -> None:
    """The entry point of the `warren` command."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments or os.environ.get("WARREN_DEBUG", "") not in ("", "0")
    arguments = [argument for argument in arguments if argument != "--debug"]  # taken anywhere in the line
    sys.exit(call(arguments, debug=debug))


def call(arguments: list[str], *, debug: bool = False) -> int:
    """Run one command line; whatever goes wrong ends as a line on stderr and an exit code."""
    plain: dict[str, Any] = {"color": False} if os.environ.get("NO_COLOR") else {}  # click itself does not look
    try:
        result = cli.main(args=arguments, prog_name="warren", standalone_mode=False, **plain)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("warren: interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        return _usage(error)
    except BrokenPipeError:  # `warren job list | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        return _failed(error, debug)
    return result if isinstance(result, int) else 0


def _usage(error: click.ClickException) -> int:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(message, err=True)
        return USAGE
    path = context.command_path if context is not None else "warren"
    click.echo(f"warren: {message}\n        See `{path} --help`.", err=True)
    return error.exit_code if error.exit_code != 1 else USAGE


def _failed(error: Exception, debug: bool) -> int:
    code = exit_code_of(error)
    if debug:
        traceback.print_exception(error)
    if code is not None:
        click.echo(f"warren: {error}".replace("\n", "\n        "), err=True)
        return code
    where = f"{type(error).__name__}: {error}".rstrip(": ")
    click.echo(f"warren: not expected: {where}\n        The traceback: the same command with --debug.", err=True)
    return FAILED


if __name__ == "__main__":
    main()
