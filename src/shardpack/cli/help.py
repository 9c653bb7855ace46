"""Help as wide as the terminal: paragraphs flow, examples stay as they are written."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterator
from inspect import cleandoc

import click

from .outcome import ExitCode

NARROWEST_TEXT = 30
"""Columns: where less would be left beside the names, the text stands below them."""

INDENT = 2
VERBATIM = "\b\n"  # how click marks a paragraph whose lines stay as they are

Entry = tuple[str, str]


def usage_pieces(command: click.Command, ctx: click.Context) -> list[str]:
    """Return what stands behind the name of a command in its line of usage."""
    arguments = [param for param in command.get_params(ctx) if isinstance(param, click.Argument)]
    rest = ["COMMAND", "[ARGS]..."] if isinstance(command, click.Group) else []
    return ["[OPTIONS]", *(_name_of(one) if one.required else f"[{_name_of(one)}]" for one in arguments), *rest]


def _name_of(argument: click.Argument) -> str:
    return argument.metavar or (argument.name or "").upper()


def help_text(command: click.Command, ctx: click.Context) -> str:
    """Lay out the help of a command for the terminal as wide as it is now."""
    width = max(shutil.get_terminal_size().columns, NARROWEST_TEXT)
    usage = " ".join([ctx.command_path, *usage_pieces(command, ctx)])
    blocks = [_wrap(usage, width, first=_heading("Usage:") + " ", indent=len("Usage: "))]
    blocks += [_paragraph(paragraph, width) for paragraph in paragraphs(command)]
    for title, entries in _sections(command, ctx):
        blocks.append("\n".join([_heading(f"{title}:"), *_entries(entries, width)]))
    return "\n\n".join(blocks) + "\n"


def paragraphs(command: click.Command) -> list[str]:
    """Return what the docstring of a command says; those that begin with ``VERBATIM`` keep their lines."""
    return cleandoc(command.help or "").split("\n\n")


def _sections(command: click.Command, ctx: click.Context) -> Iterator[tuple[str, list[Entry]]]:
    found: dict[str, list[Entry]] = {"Arguments": [], "Options": []}
    for param in command.get_params(ctx):
        if isinstance(param, click.Argument):
            found["Arguments"].append((_name_of(param), getattr(param, "help", "")))
        elif (record := param.get_help_record(ctx)) is not None:
            name, text = record
            found.setdefault(getattr(param, "panel", "Options"), []).append((name, " ".join(text.split())))
    if isinstance(command, click.Group):
        found["Commands"] = [(name, paragraphs(one)[0]) for name, one in command.commands.items()]
    found["Exit codes"] = [(str(code.value), code.meaning) for code in ExitCode]
    yield from ((title, entries) for title, entries in found.items() if entries)


def _paragraph(paragraph: str, width: int) -> str:
    if paragraph.startswith(VERBATIM):
        return paragraph[len(VERBATIM) :].rstrip()
    return _wrap(paragraph, width)


def _entries(entries: list[Entry], width: int) -> Iterator[str]:
    """Put texts beside their names, or below them where that leaves too little."""
    widest = max(len(name) for name, _ in entries)
    column = INDENT + widest + 2
    beside = width - column >= NARROWEST_TEXT
    for name, text in entries:
        if beside:
            padding = " " * (widest - len(name) + 2)
            yield _wrap(text, width, first=" " * INDENT + _name(name) + padding, indent=column)
        else:
            named = _wrap(name, width - INDENT, indent=INDENT)
            yield "\n".join(" " * INDENT + _name(line) for line in named.splitlines())
            yield textwrap.indent(_wrap(text, width - 3 * INDENT), " " * 3 * INDENT)


def _wrap(text: str, width: int, *, first: str = "", indent: int = 0) -> str:
    """Fill lines, of which the first begins with ``first``, and the others with so many spaces."""
    taken = len(click.unstyle(first))
    lines = textwrap.wrap(
        text, width, initial_indent=" " * taken, subsequent_indent=" " * indent, break_on_hyphens=False
    )
    return "\n".join([first + lines[0][taken:], *lines[1:]]) if lines else first.rstrip()


def _styled() -> bool:
    """Whether to use colours; click takes them out again where the output is no terminal."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _heading(text: str) -> str:
    return click.style(text, bold=True) if _styled() else text


def _name(text: str) -> str:
    return click.style(text, fg="cyan") if _styled() else text
