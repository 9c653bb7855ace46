"""Parts of csrc as AArch64 programs, under emulation. `EMULATED_COMPILER`, a command, builds them another way."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMPILER = os.environ.get("EMULATED_COMPILER", "aarch64-linux-gnu-gcc").split()
EMULATOR = "qemu-aarch64"
PACKAGES = "gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
STRICT = ["-std=c11", "-O3", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
PROCESSOR = "cortex-a53"
"""ARMv8.0: nothing newer is asked for."""


def demand_tools() -> None:
    """Skip where the cross compiler or the emulator is missing; where CI is set, as in `make emulate`, fail."""
    missing = [tool for tool in (COMPILER[0], EMULATOR) if shutil.which(tool) is None]
    if missing:
        reason = f"no {' and no '.join(missing)}; on Debian: apt-get install {PACKAGES}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def build(out: Path, sources: list[Path]) -> Path:
    """Compile and link ``sources`` statically: the emulator needs no libraries."""
    subprocess.run([*COMPILER, *STRICT, "-static", f"-I{ROOT / 'csrc'}", "-o", out, *sources], check=True)
    return out


def run(program: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [EMULATOR, "-cpu", PROCESSOR, program, *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=120, cwd=program.parent)
