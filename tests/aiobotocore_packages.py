"""The folders where `make build` puts aiobotocore, the newest and the oldest that is taken.

It cannot be installed beside a boto3 of today, for it asks for the botocore of some weeks before.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
NEWEST, OLDEST = re.findall(r"build/aiobotocore/([\d.]+)", REPOSITORY.joinpath("Makefile").read_text())


def python_path(version: str) -> str:
    """Return the ``PYTHONPATH`` of a process that has this version."""
    packages = REPOSITORY / "build" / "aiobotocore" / version
    assert packages.exists(), f"make {packages.relative_to(REPOSITORY)}"
    return os.pathsep.join([str(packages), *filter(None, [os.environ.get("PYTHONPATH")])])
