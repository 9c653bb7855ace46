"""Write docs/reference/command-help.md from the help of the commands themselves: python tests/command_line_page.py"""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from unittest import mock

from shardpack.cli import main

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "command-help.md"
BEGINNING = """# Commands and options

What `shardpack --help` and `shardpack COMMAND --help` say; `python tests/command_line_page.py` writes this page.
Exit codes and JSON: [The command line](command-line.md). The guides: [The put command](../ingest/put.md) and, for
`redrive`, [Dead letters](../operate/dead-letters.md).
"""


def help_of(*command: str) -> str:
    """Return what a command says to --help, as plain text of 100 columns."""
    out = io.StringIO()
    with (
        mock.patch("sys.argv", ["shardpack", *command, "--help"]),
        mock.patch.dict(os.environ, {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"}),
        contextlib.redirect_stdout(out),
        contextlib.suppress(SystemExit),
    ):
        main()
    return "\n".join(line.rstrip() for line in out.getvalue().strip("\n").splitlines())


def commands() -> list[str]:
    """Return the names of the commands, in the order of the help."""
    listed = re.search(r"Commands.*", help_of(), re.DOTALL)
    return re.findall(r"^(?:│ | {1,4})([a-z][a-z-]*)  +\S", listed[0], re.MULTILINE) if listed else []


def page() -> str:
    """Return the page."""
    parts = [BEGINNING, f"## shardpack\n\n```text\n{help_of()}\n```\n"]
    parts += [f"## shardpack {name}\n\n```text\n{help_of(name)}\n```\n" for name in commands()]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
