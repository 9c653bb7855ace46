"""The ``shardpack`` command: a thin shell over the library."""

from __future__ import annotations

import os
import sys

from .. import __version__

NEEDED = ("click", "rich", "boto3", "botocore")


def main() -> None:
    """Run the command line; the entry point of the ``shardpack`` script."""
    _replace_closed_streams()
    try:
        if sys.argv[1:] == ["--version"] and _print_version():
            return
        from .app import run  # noqa: PLC0415 (only the command needs click, rich and boto3)

        run()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in NEEDED:
            raise
        sys.stderr.write(f"shardpack: {missing} is not installed: pip install 'shardpack[cli]'\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def version_text() -> str:
    """Return what --version prints."""
    return f"shardpack {__version__}"


def _print_version() -> bool:
    """Print the version without loading what the commands need. False when that failed, which ``run`` can tell of."""
    try:
        sys.stdout.write(f"{version_text()}\n")
        sys.stdout.flush()
    except OSError:
        return False
    return True


def _replace_closed_streams() -> None:
    """Keep the numbers of standard streams that the shell closed from files and sockets that are opened later.

    To read such an input or to write such an output is an ``OSError``, as it is in C; what goes to stderr is dropped.
    """
    for name, flags, mode in (("stdin", os.O_WRONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, flags)  # the lowest that is free: the one that was closed
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 (until the exit)
