"""atheris target: bodies of GetRecords responses, held against botocore's parser, which is json and base64.

Runs on extensions built with edge counters and sanitizers, as deaggregate_upb.py does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from reply_agreement import agree

if __name__ == "__main__":
    atheris.Setup(sys.argv, agree)
    atheris.Fuzz()
