"""The ``shardpack`` command: a thin shell over the library."""

from __future__ import annotations

import sys

NEEDED = ("typer", "rich", "boto3", "botocore")


def main() -> None:
    """Run the command line; the entry point of the ``shardpack`` script."""
    try:
        from .app import app  # noqa: PLC0415 (only the command needs typer, rich and boto3)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in NEEDED:
            raise
        sys.stderr.write(f"shardpack: {missing} is not installed: pip install 'shardpack[cli]'\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    app()
