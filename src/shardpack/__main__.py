"""``python -m shardpack``, and the ``shardpack`` command: the command line, where it is installed."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, which is a distribution of its own: a Lambda layer goes without."""
    try:
        from .cli import main as run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "shardpack.cli":
            raise
        sys.stderr.write("shardpack: the command line is not installed: pip install 'shardpack[cli]'\n")
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
