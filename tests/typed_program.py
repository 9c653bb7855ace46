"""Whether mypy tells right programs from wrong ones: their lines say ``# wrong: `` and the codes of the errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "src"


def check(program: str, folder: Path) -> None:
    """Run ``mypy --strict`` over a user's program; its errors are those that the program says."""
    folder.joinpath("program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", "program.py"],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    wrong = re.findall(r"^program\.py:(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    expected = [
        (str(number), code)
        for number, line in enumerate(program.splitlines(), 1)
        if "# wrong: " in line
        for code in line.partition("# wrong: ")[2].split(", ")
    ]
    assert sorted(set(wrong)) == sorted(expected), done.stdout + done.stderr
