"""The command line as a whole."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Annotated

import typer

from .bench import bench
from .demo import demo
from .doctor import doctor
from .inspect import inspect
from .outcome import EXIT_CODES, Messages, exit_on_error
from .put import put
from .redrive import redrive
from .tail import tail

app = typer.Typer(
    name="shardpack",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"shardpack {version('shardpack')}")
        raise typer.Exit


@app.callback(epilog=EXIT_CODES)
def shardpack(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Move very many small records through Amazon Kinesis Data Streams.

    Events are aggregated in the format of the Kinesis Producer Library, each
    aggregate for one shard, and sent in the order of their keys. See it work,
    without an AWS account:

    \b
      shardpack demo
    """


for command in (demo, doctor, put, tail, inspect, redrive, bench):
    app.command(epilog=EXIT_CODES)(command)


def run() -> None:
    """Run the command that the arguments name, and end the process."""
    logging.basicConfig(format="shardpack: %(message)s", handlers=[Messages()])
    with exit_on_error():  # of help and usage; each command does so itself
        app()
