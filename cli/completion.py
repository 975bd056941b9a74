"""`warren completion`: what makes a shell complete the words of this command."""

from __future__ import annotations

import click


@click.command(
    epilog="\b\nExamples:\n  source <(warren completion bash)          # in ~/.bashrc\n"
    "  source <(warren completion zsh)           # in ~/.zshrc, after compinit\n"
    "  warren completion fish > ~/.config/fish/completions/warren.fish"
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete words of this command: commands, options, ids of jobs, tasks, contexts.

    Ids are asked of the folder or the servers that the line names, for two seconds at most; a context whose
    secrets come from a command offers none.
    """
    from click.shell_completion import get_completion_class

    from .main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(cli, {}, "warren", "_WARREN_COMPLETE")
    click.echo(made.source_template % made.source_vars())  # source() would look for the shell, of the right version
