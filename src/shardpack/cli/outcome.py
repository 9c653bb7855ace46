"""How a command ends: its exit code, and one line that says why."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from threading import Event
from typing import Any, NoReturn, TextIO

from ..errors import ShardpackError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from rich.console import RenderableType


class ExitCode(IntEnum):
    """The exit codes of every command; the only place that says what they mean."""

    meaning: str

    DONE = 0, "Done. Also when the reader of the output has left, as head does."
    FAILED = 1, "Not delivered, missing, refused or unreachable; or what was examined is not as it should be."
    WRONG_USAGE = 2, "Wrong usage or bad input."
    INTERRUPTED = 130, "Ctrl-C; for put and redrive SIGTERM too: what was begun is finished."
    TERMINATED = 143, "SIGTERM, of the other commands."

    def __new__(cls, code: int, meaning: str) -> ExitCode:
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member


FAILED = ExitCode.FAILED
WRONG_USAGE = ExitCode.WRONG_USAGE
INTERRUPTED = ExitCode.INTERRUPTED
TERMINATED = ExitCode.TERMINATED


class Messages(logging.Handler):
    """Prints what is logged to stderr, above what is shown there and changes."""

    def emit(self, record: logging.LogRecord) -> None:
        from rich.text import Text  # noqa: PLC0415 (only what prints waits for rich)

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
        raise SystemExit(INTERRUPTED.value) from None
    except BadInputError as error:
        fail(str(error), WRONG_USAGE)
    except (ShardpackError, TimeoutError) as error:
        fail(str(error))
    except OSError as error:  # who reads a file or a connection names it: what is left is our output
        _discard(sys.stdout)
        fail(f"{error.filename or 'standard output'}: {os_error_text(error)}")
    except Exception as error:
        _fail_as_botocore(error)
        raise


@contextmanager
def until_reader_leaves() -> Iterator[None]:
    """End quietly what is printed to a reader who has seen enough: ``shardpack tail … | head``."""
    try:
        yield
    except BrokenPipeError:
        _discard(sys.stdout)


def print_json(found: Any) -> None:
    """Print one JSON object on a line. That nobody reads it changes nothing about how the command ends."""
    with until_reader_leaves():
        sys.stdout.buffer.write(json.dumps(found).encode() + b"\n")
        sys.stdout.buffer.flush()


def end_in_order_on_sigterm() -> None:
    """Have SIGTERM clear what is shown on the terminal, and stop what was started, before the command ends."""
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(_signal: int, _frame: object) -> None:
    raise SystemExit(TERMINATED.value)


@contextmanager
def finish_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Tell whether there was a Ctrl-C or SIGTERM, so that what was begun is finished; a second one stops at once."""
    interrupted = Event()
    before = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if (handler := signal.getsignal(number)) in {signal.default_int_handler, signal.SIG_DFL, _terminate}
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


def _fail_as_botocore(error: Exception) -> None:
    """End the command if the error is one of botocore, which is loaded only by what talks to a service."""
    if "botocore.exceptions" not in sys.modules:
        return
    from botocore import exceptions  # noqa: PLC0415

    match error:
        case exceptions.ParamValidationError() | exceptions.ProfileNotFound():
            fail(str(error), WRONG_USAGE)
        case exceptions.NoRegionError():
            fail("no region: give --region, or set AWS_DEFAULT_REGION", WRONG_USAGE)
        case exceptions.NoCredentialsError():
            fail("no AWS credentials: give --profile, or configure some (`aws configure`)")
        case exceptions.ClientError():
            fail(client_error_text(error))
        case exceptions.BotoCoreError():
            fail(str(error))


def fail(message: str, exit_code: ExitCode = FAILED) -> NoReturn:
    """Say on one line of stderr why the command ends, and end it."""
    from rich.text import Text  # noqa: PLC0415

    tell(Text.assemble(("shardpack: ", "bold red"), " ".join(message.split())), soft_wrap=True)
    raise SystemExit(exit_code.value) from None


def tell(what: RenderableType, **options: Any) -> None:
    """Print to stderr. That it is closed or full changes nothing about what the command did."""
    from .console import stderr  # noqa: PLC0415

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
