"""Parts of csrc as programs of their own, without Python, under sanitizers.

`ALONE_COMPILER`, a command, builds them without sanitizers, by another compiler, against another C library.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STRICT = ["-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-Icsrc"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
WATCH_MALLOC = ["-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free"]


def build(out: Path, sources: list[str], *options: str) -> Path:
    """Compile and link ``sources``, named from the root. Without sanitizers the test is skipped; in CI it fails."""
    if given := os.environ.get("ALONE_COMPILER"):
        subprocess.run([*given.split(), *STRICT, *options, *sources, "-o", out], cwd=ROOT, check=True)
        return out
    compiler = shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]) or "cc"
    nothing = [compiler, *SANITIZE, "-x", "c", "-", "-o", out]
    if subprocess.run(nothing, input=b"int main(void) { return 0; }", capture_output=True, check=False).returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{compiler} links nothing with {' '.join(SANITIZE)}")
    command = [compiler, *STRICT, *SANITIZE, *options, *sources, "-o", out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def run(program: Path, *arguments: object) -> str:
    """Run a program to its good end; return what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [program, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-3000:]}"
    return done.stdout
