"""What `make dist-check` finds: the rules of what a distribution holds, on lists of names."""

from __future__ import annotations

import re
from pathlib import Path

import check_dist
import pytest

import shardpack

ROOT = Path(__file__).parents[1]
WHEEL = [
    *(f"shardpack/{name}" for name in check_dist.NEEDED),
    "shardpack/_native/_modules.cpython-311-x86_64-linux-gnu.so",
    "shardpack/producer/",
    f"shardpack-{shardpack.__version__}.dist-info/METADATA",
]


def test_a_wheel_as_it_should_be():
    assert check_dist.defects_of_wheel(WHEEL, 600_000) == []


@pytest.mark.parametrize(
    ("more", "size", "defect"),
    [
        (["tests/test_x.py"], 1, "tests/test_x.py is not for a wheel"),
        (["shardpack/bench/flights.ndjson.xz"], 1, "shardpack/bench/flights.ndjson.xz is not for a wheel"),
        (["shardpack/cli/app.py"], 1, "shardpack/cli/app.py is not for a wheel"),
        (["shardpack/_native/md5.pyx"], 1, "shardpack/_native/md5.pyx is not for a wheel"),
        (["shardpack/_native/other.so"], 1, "there is not one extension file"),
        ([], 600_001, "600,001 bytes, which is more than 600,000"),
    ],
)
def test_what_is_wrong_with_a_wheel(more, size, defect):
    assert check_dist.defects_of_wheel([*WHEEL, *more], size) == [defect]


def test_what_a_wheel_lacks():
    assert check_dist.defects_of_wheel(WHEEL[1:], 1) == [f"{WHEEL[0]} is missing"]


def test_what_an_sdist_lacks_and_has_too_much():
    names = [*(check_dist.IN_SDIST - {"LICENSE"}), "build/x.o", "src/shardpack/_native/md5.so"]
    assert check_dist.defects_of_sdist(names) == [
        "LICENSE is missing",
        "build/x.o was made, and is not for an sdist",
        "src/shardpack/_native/md5.so was made, and is not for an sdist",
    ]
    assert all(ROOT.joinpath(name).exists() for name in check_dist.IN_SDIST)


def test_versions_are_one():
    said = [re.findall(r'^version = "(.*)"$', ROOT.joinpath(name).read_text(), re.MULTILINE) for name in PROJECTS]
    assert said == [[shardpack.__version__]] * 2
    needed = re.findall(
        r"shardpack(?:-tools)?==([^\"]*)", "".join(ROOT.joinpath(name).read_text() for name in PROJECTS)
    )
    assert needed == [shardpack.__version__] * 3


PROJECTS = ("pyproject.toml", "tools/pyproject.toml")


def test_hashes_pin_what_builds():
    pinned = ROOT.joinpath("requirements", "build.txt").read_text()
    names = re.findall(r"^(\S+)==\S+", pinned, re.MULTILINE)
    assert {re.split("[>=;]", line)[0] for line in BUILD_IN} <= {*names}
    assert pinned.count("--hash=sha256:") >= len(names)
    assert "://" not in pinned


BUILD_IN = [
    line for line in ROOT.joinpath("requirements", "build.in").read_text().splitlines() if not line.startswith("#")
]
