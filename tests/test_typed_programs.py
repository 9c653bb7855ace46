"""Users' programs as type checkers see them: mypy and pyright, both strict, find what is wrong and nothing else.

The programs lie in ``tests/typed``. A line that is wrong says ``# wrong: `` and the codes of mypy's errors, and is an
error of pyright too. The examples have no error. Each checker runs once over all of them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted((ROOT / "tests" / "typed").glob("*.py"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

WHAT_LIBRARIES_LEAVE_UNKNOWN = (
    "reportMissingTypeStubs",
    "reportUnknownArgumentType",
    "reportUnknownMemberType",
    "reportUnknownVariableType",
)
"""Off in the examples, which use pyarrow, Powertools and boto3: their types are partial. On in the programs."""


def wrong_lines(path: Path) -> dict[int, list[str]]:
    """Return the lines that a program calls wrong, and the codes of mypy's errors there."""
    marked = ((number, line.partition("# wrong: ")) for number, line in enumerate(path.read_text().splitlines(), 1))
    return {number: codes.split(", ") for number, (_, mark, codes) in marked if mark}


def run(command: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 1, done.stdout + done.stderr  # errors were found, and nothing else went wrong
    return done.stdout


@pytest.fixture(scope="module")
def by_mypy(tmp_path_factory) -> dict[Path, set[tuple[int, str]]]:
    """The line and the code of each error of mypy, by file."""
    config = tmp_path_factory.mktemp("mypy") / "mypy.ini"
    config.write_text("[mypy-pyarrow.*]\nfollow_imports = skip\nignore_missing_imports = True\n")
    files = [str(path) for path in (*PROGRAMS, *EXAMPLES)]
    said = run(["mypy", "--strict", f"--config-file={config}", "--no-error-summary", "--hide-error-context", *files])
    found: dict[Path, set[tuple[int, str]]] = {}
    for name, line, code in re.findall(r"^(\S+?\.py):(\d+): error: .*\[([a-z-]+)\]$", said, re.MULTILINE):
        found.setdefault(ROOT / name, set()).add((int(line), code))
    return found


@pytest.fixture(scope="module")
def by_pyright(tmp_path_factory) -> dict[Path, set[int]]:
    """The lines of pyright's errors, by file."""
    config = tmp_path_factory.mktemp("pyright") / "pyrightconfig.json"
    config.write_text(
        json.dumps(
            {
                "include": [str(path) for path in (*PROGRAMS, *EXAMPLES)],
                "extraPaths": [str(ROOT / "src")],
                "typeCheckingMode": "strict",
                "executionEnvironments": [
                    {"root": str(ROOT / "tests" / "typed")},
                    {"root": str(ROOT / "examples"), **dict.fromkeys(WHAT_LIBRARIES_LEAVE_UNKNOWN, False)},
                ],
            }
        )
    )
    answer = json.loads(run(["basedpyright", "-p", str(config), "--pythonpath", sys.executable, "--outputjson"]))
    assert answer["summary"]["filesAnalyzed"] == len(PROGRAMS) + len(EXAMPLES)
    found: dict[Path, set[int]] = {}
    for each in answer["generalDiagnostics"]:
        found.setdefault(Path(each["file"]), set()).add(each["range"]["start"]["line"] + 1)
    return found


@pytest.mark.parametrize("path", [*PROGRAMS, *EXAMPLES], ids=lambda path: path.name)
def test_mypy_finds_what_is_wrong(path, by_mypy):
    expected = {(number, code) for number, codes in wrong_lines(path).items() for code in codes}
    assert by_mypy.get(path, set()) == expected


@pytest.mark.parametrize("path", [*PROGRAMS, *EXAMPLES], ids=lambda path: path.name)
def test_pyright_finds_what_is_wrong(path, by_pyright):
    assert by_pyright.get(path, set()) == set(wrong_lines(path))


def test_examples_are_right_and_programs_show_what_is_not():
    assert not any(wrong_lines(path) for path in EXAMPLES)
    assert all(wrong_lines(path) for path in PROGRAMS)
