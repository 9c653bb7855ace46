"""csrc/contents and csrc/md5 built by themselves, under ThreadSanitizer: what threads share is theirs to share."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
import wire

TESTS = Path(__file__).parent
CSRC = TESTS.parent / "csrc"
SOURCES = ["deaggregate.c", "wire_record.c", "contents.c", "columns.c"]


def compile_with_threads(out, *sources):
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    strict = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", f"-I{CSRC}"]
    command = [shutil.which(compiler) or "cc", *strict, "-fsanitize=thread", "-pthread", "-o", str(out)]
    return subprocess.run([*command, *map(str, sources)], capture_output=True, text=True, check=False)


def test_many_threads_at_the_same_records(tmp_path):
    (tmp_path / "empty.c").write_text("int main(void) { return 0; }\n")
    if compile_with_threads(tmp_path / "empty", tmp_path / "empty.c").returncode:
        pytest.skip("the compiler has no ThreadSanitizer")
    sources = [TESTS / "contents_threads.c", *(CSRC / name for name in SOURCES), *sorted(CSRC.glob("md5*.c"))]
    built = compile_with_threads(tmp_path / "threads", *sources)
    assert built.returncode == 0, built.stderr
    for i in range(40):
        user_records = [(f"key-{j % (i + 3)}", bytes(j % 90), j if j % 2 else None) for j in range(60 + i)]
        (tmp_path / f"{i}.record").write_bytes(wire.aggregate(user_records))
    records = sorted(tmp_path.glob("*.record"))
    ran = subprocess.run([tmp_path / "threads", *records], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert int(ran.stdout) == sum(60 + i for i in range(40))
