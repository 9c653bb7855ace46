"""A terminal that a command writes to, and what it shows in the end."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess

from conftest import SHARDPACK

SIGNALLED = [  # a shell in the background may have told its children to ignore Ctrl-C
    *SHARDPACK[:-1],
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + SHARDPACK[-1],
]


def on_terminal(shardpack, *arguments: object, stop_when=None, stop_with=signal.SIGINT, **options):
    """Run it on a terminal of 80 columns; returns the exit code and what it wrote there."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in shardpack.environment.items() if name != "COLUMNS"}
    command = list(SIGNALLED)
    if stop_when is not None:  # at any moment: a file that was just opened is closed without `with`, which is a warning
        command[1:3] = []
    process = subprocess.Popen(
        [*command, *map(str, arguments)],
        stderr=theirs,
        env=environment | {"TERM": "xterm", "COLUMNS": "80"},
        **options,
    )
    os.close(theirs)
    seen = b""
    try:
        while True:
            if select.select([ours], [], [], 60)[0]:
                try:
                    chunk = os.read(ours, 65536)
                except OSError:  # the other end is closed
                    break
                if not chunk:
                    break
                seen += chunk
                if stop_when is not None and stop_when in seen:
                    process.send_signal(stop_with)
                    stop_when = None
        return process.wait(60), seen.decode()
    finally:
        process.kill()
        os.close(ours)


def screen(text: str) -> list[str]:
    """What a terminal shows after these bytes: as much of one as rich needs."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part.startswith("\x1b"):
            number = int(re.sub(r"\D", "", part) or 1)
            if part.endswith("A"):
                row = max(0, row - number)
            elif part == "\x1b[2K":
                lines[row] = ""
        else:
            lines[row] = lines[row].ljust(column)[:column] + part + lines[row][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines if line.strip()]
