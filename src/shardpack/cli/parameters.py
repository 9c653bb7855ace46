"""What commands are declared with: click's arguments and options, with a help for arguments too, and with headings."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from enum import Enum
from typing import Any

import click

from .help import help_text, usage_pieces

SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True}

FILE = click.Path(readable=False, allow_dash=True)
"""Shells complete it; whoever opens it says what is wrong with it."""


class LaidOut(click.Command):
    """A command, or a group of them, whose help is laid out for the terminal."""

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return usage_pieces(self, ctx)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(help_text(self, ctx))


class Argument(click.Argument):
    def __init__(self, declarations: list[str], *, help: str = "", **options: Any) -> None:  # noqa: A002 (as options)
        super().__init__(declarations, **options)
        self.help = help


class Option(click.Option):
    def __init__(self, declarations: list[str], *, panel: str = "Options", **options: Any) -> None:
        super().__init__(declarations, **options)
        self.panel = panel
        """The heading it stands under."""


class OneOf(click.Choice[Any]):
    """The values of an ``Enum``."""

    def __init__(self, values: type[Enum]) -> None:
        super().__init__([one.value for one in values])
        self._values = values

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Enum:
        return value if isinstance(value, self._values) else self._values(super().convert(value, param, ctx))


Declare = Callable[[Any], Any]


def command(function: Callable[..., None]) -> LaidOut:
    """Make a command of a function, by its name and docstring."""
    return click.command(function.__name__, cls=LaidOut, context_settings=SETTINGS)(function)


def argument(name: str, **options: Any) -> Declare:
    return click.argument(name, cls=Argument, **options)


def option(*declarations: str, **options: Any) -> Declare:
    return click.option(*declarations, cls=Option, **options)


def moment(text: str) -> datetime:
    """Read a time, ISO 8601 or epoch seconds; one without a zone is local time. Raises ``ValueError``."""
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(float(text), timezone.utc)
    try:
        # Python 3.10 does not know Z
        return datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in "zZ" else text).astimezone()
    except (OverflowError, OSError) as error:
        raise ValueError(str(error)) from None
