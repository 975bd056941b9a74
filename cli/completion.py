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
    """Print what makes a shell complete words of this command. Commands and options need no server for it."""
    from click.shell_completion import get_completion_class

    from .main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(cli, {}, "warren", "_WARREN_COMPLETE")
    click.echo(made.source_template % made.source_vars())  # source() would look for the shell, of the right version
