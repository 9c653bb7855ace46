"""How a command ends: its exit code, and one line that says why."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any, NoReturn, TextIO

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    ProfileNotFound,
)
from rich.console import Console, RenderableType
from rich.text import Text

from ..errors import ShardpackError

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130

EXIT_CODES = (
    "Exit codes: 0 fine · 1 not delivered, missing or refused · 2 wrong usage or bad input · 130 Ctrl-C, SIGTERM."
)

stderr = Console(stderr=True, highlight=False)


class Stdout(Console):
    """Prints to standard output; a reader that is gone is for ``until_reader_leaves`` to notice."""

    def __init__(self) -> None:
        super().__init__(highlight=False)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Messages(logging.Handler):
    """Prints what is logged to stderr, above what is shown there and changes."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(Text(self.format(record)), soft_wrap=True)


class BadInputError(ShardpackError, ValueError):
    """What the user gave cannot be used."""


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn the errors a user may expect into one line on stderr and an exit code."""
    try:
        with until_reader_leaves():
            yield
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except (BadInputError, ParamValidationError, ProfileNotFound) as error:
        fail(str(error), WRONG_USAGE)
    except NoRegionError:
        fail("no region: give --region, or set AWS_DEFAULT_REGION", WRONG_USAGE)
    except NoCredentialsError:
        fail("no AWS credentials: give --profile, or configure some (`aws configure`)")
    except ClientError as error:
        fail(client_error_text(error))
    except (ShardpackError, BotoCoreError, TimeoutError) as error:
        fail(str(error))
    except OSError as error:  # who reads a file or a connection names it: what is left is our output
        _discard(sys.stdout)
        fail(f"{error.filename or 'standard output'}: {os_error_text(error)}")


@contextmanager
def until_reader_leaves() -> Iterator[None]:
    """End quietly what is printed to a reader who has seen enough: ``shardpack tail … | head``."""
    try:
        yield
    except BrokenPipeError:
        _discard(sys.stdout)


@contextmanager
def finish_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Tell whether there was a Ctrl-C or SIGTERM, so that what was begun is finished; a second one stops at once."""
    interrupted = Event()
    before = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if (handler := signal.getsignal(number)) in {signal.default_int_handler, signal.SIG_DFL}
    }  # another is not meant for us, in the background for example

    def note(_signal: int, _frame: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    for number in before:
        signal.signal(number, note)
    try:
        yield interrupted.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def fail(message: str, exit_code: int = FAILED) -> NoReturn:
    """Say on one line of stderr why the command ends, and end it."""
    tell(Text.assemble(("shardpack: ", "bold red"), " ".join(message.split())), soft_wrap=True)
    raise SystemExit(exit_code) from None


def tell(what: RenderableType, **options: Any) -> None:
    """Print to stderr. That it is closed or full changes nothing about what the command did."""
    try:
        stderr.print(what, **options)
    except OSError:
        _discard(sys.stderr)


def client_error_text(error: ClientError) -> str:
    """Say in one line what the service refused, and why."""
    response: Any = error.response
    what = response.get("Error", {})
    return f"{error.operation_name}: {what.get('Code', 'refused')}: {what.get('Message') or 'no reason given'}"


def os_error_text(error: OSError) -> str:
    """Say what went wrong with a file or a standard stream, without its name."""
    return "closed" if error.errno == errno.EBADF else error.strerror or str(error)


def _discard(stream: TextIO) -> None:
    """Drop what the stream still holds, which the interpreter would try to write at its end, and what comes."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
