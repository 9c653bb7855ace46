"""What needs a real aiobotocore: `with_aiobotocore.py`, each run in a process with another version of it.

It cannot be installed beside a boto3 of today, for it asks for the botocore of some weeks before; so `make build` puts
it into folders of its own, the newest and the oldest that is taken.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).with_name("with_aiobotocore.py")
FOLDER = TESTS.parents[1] / "build" / "aiobotocore"


@pytest.mark.parametrize("version", ["3.10.0", "2.11.0"])
def test_with(version, command_environment):
    packages = FOLDER / version
    assert packages.exists(), f"make {packages.relative_to(Path.cwd())}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore::DeprecationWarning", TESTS],
        env=command_environment
        | {"PYTHONPATH": os.pathsep.join([str(packages), *filter(None, [os.environ.get("PYTHONPATH")])])}
        | {"AIOBOTOCORE_VERSION": version},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
