"""The command line as a whole. Each command is loaded when it is run, or when its own help or completion is asked."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from typing import Any

import click
from click.shell_completion import get_completion_class, shell_complete

from .outcome import WRONG_USAGE, Messages, end_in_order_on_sigterm, exit_on_error, fail
from .parameters import SETTINGS, LaidOut, argument, command

NAME = "shardpack"

COMMANDS = {
    "demo": "Send real flight events through a local Kinesis and back, with proof.",
    "doctor": "Tell what would fail before anything is put; writes nothing.",
    "put": "Send lines of JSON, or rows of Parquet, aggregated, until the service has every one.",
    "tail": "Print the user records of a stream: partition key, a space, data.",
    "inspect": "Take Kinesis records apart: magic, checksum, keys, user records.",
    "redrive": "Send dead letters again, in order; each is dropped only when it is stored.",
    "checkpoints": "Show how far readers have come, take it elsewhere, or set it anew.",
    "plan": "Tell how many shards a stream needs, and what would need fewer.",
    "reshard": "Give a stream another number of shards, or shards of even load.",
    "train": "Make a dictionary for the payload codec from samples of your records.",
    "bench": "Measure shardpack on this machine, beside its peers.",
}
"""The first line of the help of each, so that the list of them needs none."""

COMPLETE = f"_{NAME.upper()}_COMPLETE"
"""The variable by which a shell asks how its line may go on."""

SHELLS = ("bash", "zsh", "fish")


class Commands(LaidOut, click.Group):
    """Knows the names of the commands, and loads the one that is run."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, known, rest = super().resolve_command(ctx, args)
        return name, known if name not in COMMANDS else load(name), rest


def load(name: str) -> Any:
    """Return one of the commands."""
    return getattr(import_module(f".{name}", __package__), name)


def _show_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from . import version_text  # noqa: PLC0415

        click.echo(version_text())
        ctx.exit()


@click.group(NAME, cls=Commands, context_settings=SETTINGS)
@click.option(
    "--version",
    is_flag=True,
    help="Show the version and exit.",
    callback=_show_version,
    is_eager=True,
    expose_value=False,
)
def app() -> None:
    """Move very many small records through Amazon Kinesis Data Streams.

    Events are aggregated in the format of the Kinesis Producer Library, each
    aggregate for one shard, and sent in the order of their keys. See it work,
    without an AWS account:

    \b
      shardpack demo
    """


@command
@argument("shell", metavar="SHELL", type=click.Choice(SHELLS), help=f"One of {', '.join(SHELLS)}.")
def completion(shell: str) -> None:
    """Print the script by which a shell completes commands and options.

    \b
      eval "$(shardpack completion bash)"    # in ~/.bashrc
      eval "$(shardpack completion zsh)"     # in ~/.zshrc
      shardpack completion fish > ~/.config/fish/completions/shardpack.fish
    """
    script = get_completion_class(shell)
    if script is not None:
        click.echo(script(app, {}, NAME, COMPLETE).source())


for _name, _text in COMMANDS.items():
    app.add_command(click.Command(_name, help=_text))
app.add_command(completion)


def run() -> None:
    """Run the command that the arguments name, and end the process."""
    logging.basicConfig(format=f"{NAME}: %(message)s", handlers=[Messages()])
    end_in_order_on_sigterm()
    with exit_on_error():
        if question := os.environ.get(COMPLETE):
            raise SystemExit(shell_complete(app, {}, NAME, COMPLETE, question))
        try:
            if not sys.argv[1:]:
                click.echo(app.make_context(NAME, [], resilient_parsing=True).get_help(), err=True)
                raise SystemExit(WRONG_USAGE)
            with app.make_context(NAME, sys.argv[1:]) as context:
                app.invoke(context)
        except click.exceptions.Exit as end:
            raise SystemExit(end.exit_code) from None
        except click.ClickException as error:
            context_of = getattr(error, "ctx", None)
            where = NAME if context_of is None else context_of.command_path
            message = " ".join(error.format_message().split()).rstrip(".")
            end_of = "" if message.endswith("?") else "."
            fail(f"{message[:1].lower()}{message[1:]}{end_of} See `{where} --help`.", WRONG_USAGE)
