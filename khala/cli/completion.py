"""`khala completion`: what makes a shell complete subcommands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from khala.cli.connecting import json_option
from khala.cli.exits import Exit
from khala.cli.output import print_json

_SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_KHALA_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@json_option
@click.pass_context
def completion(context: click.Context, shell: str, as_json: bool) -> int:
    """Print what a shell needs to complete `khala` and its options.

    \b
      khala completion bash > ~/.local/share/bash-completion/completions/khala
      khala completion zsh > ~/.zfunc/_khala
      khala completion fish > ~/.config/fish/completions/khala.fish
    """
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"{shell} is not known to click: give another")
    source = made(context.find_root().command, {}, "khala", _VARIABLE).source()
    if as_json:
        print_json({"shell": shell, "script": source})
    else:
        click.echo(source)
    return Exit.OK
