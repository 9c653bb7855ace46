"""How a command ends: its exit code, and one line that says why."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    ProfileNotFound,
)
from rich.console import Console
from rich.text import Text

from ..errors import ShardpackError

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130

EXIT_CODES = "Exit codes: 0 fine · 1 not delivered, missing or refused · 2 wrong usage or bad input · 130 Ctrl-C."

stderr = Console(stderr=True, highlight=False)


class BadInputError(ShardpackError, ValueError):
    """What the user gave cannot be used."""


@contextmanager
def answered() -> Iterator[None]:
    """Turn the errors a user may expect into one line on stderr and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None
    except (BadInputError, ParamValidationError, ProfileNotFound) as error:
        raise failed(str(error), WRONG_USAGE) from None
    except NoRegionError:
        raise failed("no region: give --region, or set AWS_DEFAULT_REGION", WRONG_USAGE) from None
    except NoCredentialsError:
        raise failed("no AWS credentials: give --profile, or configure some (`aws configure`)") from None
    except ClientError as error:
        raise failed(refusal(error)) from None
    except (ShardpackError, BotoCoreError, TimeoutError) as error:
        raise failed(str(error)) from None


def failed(message: str, exit_code: int = FAILED) -> typer.Exit:
    """Say why on stderr; returns what is to be raised."""
    stderr.print(Text.assemble(("shardpack: ", "bold red"), " ".join(message.split())), soft_wrap=True)
    return typer.Exit(exit_code)


def refusal(error: ClientError) -> str:
    """Say in one line what the service refused, and why."""
    response: Any = error.response
    what = response.get("Error", {})
    return f"{error.operation_name}: {what.get('Code', 'refused')}: {what.get('Message') or 'no reason given'}"
