"""Check the distributions in a folder: what is in them, how large they are, that they install and pass their own tests.

Usage: python tests/check_dist.py dist [--python python3.12 …]

A wheel is installed into a fresh environment of each Python, and the native tests of the unpacked sdist run there, far
from the checkout. A Python for which there is no wheel builds its own from the sdist.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

MOST_CORE_BYTES = 600_000
"""Of the library's wheel, as it is downloaded: it goes into Lambda layers."""

NEEDED = {"__init__.py", "__main__.py", "py.typed", "_native/__init__.py", "_native/md5.pyi", "producer/pump.py"}
TOOLS = ("bench/", "cli/", "consume/stream/", "dead_letters/remote/", "plan/", "testing/")
IN_SDIST = {
    "LICENSE", "Makefile", "README.md", "CHANGELOG.md", "pyproject.toml", "setup.py", "mkdocs.yml",
    "benchmarks/report.py", "csrc/md5_dispatch.c", "docs/index.md", "examples/produce.py", "fuzz/run.py",
    "requirements/build.txt", "src/shardpack/_native/md5.pyx", "src/shardpack/cli/app.py", "tests/conftest.py",
    "tests/data/kpl.jsonl", "tests/node/package-lock.json", "tools/pyproject.toml",
}  # fmt: skip


def defects_of_wheel(names: list[str], size: int) -> list[str]:
    """Return what is wrong with the content of the library's wheel."""
    files = {name.removeprefix("shardpack/") for name in names if re.match("shardpack/.*[^/]$", name)}
    others = [name for name in names if not re.match(r"shardpack/|shardpack-[^/]*\.dist-info/", name)]
    found = [f"{name} is not for a wheel" for name in others]
    found += [f"shardpack/{name} is missing" for name in sorted(NEEDED - files)]
    found += [
        f"shardpack/{name} is not for a wheel"
        for name in sorted(files)
        if name.startswith(TOOLS) or not name.endswith((".py", ".pyi", ".so", ".pyd", "py.typed"))
    ]
    if sum(name.endswith((".so", ".pyd")) for name in files) != 1:
        found.append("there is not one extension file")
    if size > MOST_CORE_BYTES:
        found.append(f"{size:,} bytes, which is more than {MOST_CORE_BYTES:,}")
    return found


def defects_of_sdist(names: list[str]) -> list[str]:
    """Return what is wrong with the content of the sdist, its names without their first folder."""
    made = re.compile(r"\.(so|pyc|o)$|^(tools/)?build/|^\.venv/|\.egg-info/.*\.so")
    found = [f"{name} is missing" for name in sorted(IN_SDIST - {*names})]
    return found + [f"{name} was made, and is not for an sdist" for name in names if made.search(name)]


def check_contents(dist: Path) -> tuple[Path, list[Path], Path]:
    """Check what is there; return the sdist, the library's wheels and that of the tools."""
    [sdist], [tools] = dist.glob("shardpack-*.tar.gz"), dist.glob("shardpack_tools-*.whl")
    wheels = sorted(dist.glob("shardpack-*.whl"))
    found = []
    with tarfile.open(sdist) as archive:
        names = [member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()]
        found += [f"{sdist.name}: {defect}" for defect in defects_of_sdist(names)]
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            size = sum(info.file_size for info in archive.infolist())
            defects = defects_of_wheel(archive.namelist(), wheel.stat().st_size)
            found += [f"{wheel.name}: {defect}" for defect in defects]
        print(f"{wheel.name}: {wheel.stat().st_size:,} bytes, {size:,} installed")
    with zipfile.ZipFile(tools) as archive:
        for_it = rf"shardpack/({'|'.join(TOOLS)})|.*-info/"
        strange = [name for name in archive.namelist() if not re.match(for_it, name)]
        found += [f"{tools.name}: {name} is not for it" for name in strange]
    if found:
        sys.exit("\n".join(found))
    return sdist, wheels, tools


def check_installed(python: str, sdist: Path, dist: Path, tools: Path) -> None:
    """Install into a fresh environment of a Python, from the folder alone, and run the native tests there."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(python, "-m", "venv", folder / "venv")
        own = folder / "venv" / "bin" / "python"
        run(own, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1")  # which knows groups
        run(own, "-m", "pip", "install", "--quiet", "--find-links", dist, "--prefer-binary", "shardpack")
        shown = run(own, "-I", "-c", "import shardpack; print(shardpack.__version__, shardpack.__file__)")
        assert str(folder) in shown, shown
        said = subprocess.run([folder / "venv" / "bin" / "shardpack"], capture_output=True, text=True, check=False)
        assert (said.returncode, "pip install 'shardpack[cli]'" in said.stderr) == (2, True), said
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        [root] = folder.glob("shardpack-*")
        group = f"{root / 'pyproject.toml'}:native"
        run(own, "-m", "pip", "install", "--quiet", "--find-links", dist, "--group", group)
        root.joinpath("src").rename(folder / "not-installed")
        print(run(own, root / "tests" / "native.py", "-q").splitlines()[-1])
        run(own, "-m", "pip", "install", "--quiet", "--no-deps", tools)
        assert run(folder / "venv" / "bin" / "shardpack", "--version").startswith("shardpack ")


def run(*command: object) -> str:
    """Run a command, and return what it prints; where it fails, that ends everything."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-8000:]}{done.stderr[-4000:]}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dist", type=Path)
    parser.add_argument("--python", nargs="*", default=[], help="what to install into")
    arguments = parser.parse_args()
    dist = arguments.dist.resolve()
    sdist, _wheels, tools = check_contents(dist)
    for python in arguments.python:
        print(python, end=": ", flush=True)
        check_installed(python, sdist, dist, tools)


if __name__ == "__main__":
    main()
