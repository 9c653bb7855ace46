"""What needs a real aiobotocore: `with_aiobotocore*.py`, each run in a process with another version of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from aiobotocore_packages import NEWEST, OLDEST, python_path

TESTS = sorted(Path(__file__).parent.glob("with_aiobotocore*.py"))


@pytest.mark.parametrize("tests", TESTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("version", [NEWEST, OLDEST])
def test_with(version, tests, command_environment):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore::DeprecationWarning", tests],
        env=command_environment | {"PYTHONPATH": python_path(version), "AIOBOTOCORE_VERSION": version},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
