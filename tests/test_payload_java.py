"""The reader of payloads in Java that the format's page shows, run with zstd-jni, as pyspark brings it."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from documents import REPOSITORY
from payloads import dictionary, event

from shardpack.codec import DictionaryCodec

PROGRAM = """
import com.github.luben.zstd.*;
import java.nio.ByteBuffer;
import java.nio.file.*;
import java.util.*;

public class ReadPayloads {
    %s
    public static void main(String[] arguments) throws Exception {
        byte[] dictionary = Files.readAllBytes(Path.of(arguments[0]));
        for (String line : Files.readAllLines(Path.of(arguments[1])))
            System.out.println(HexFormat.of().formatHex(data(HexFormat.of().parseHex(line), dictionary)));
    }
}
"""


def zstd_jni() -> str:
    spark = importlib.util.find_spec("pyspark")
    if spark is None or spark.origin is None:
        pytest.skip("no pyspark")
    found = [str(path) for path in Path(spark.origin).parent.glob("jars/zstd-jni-*.jar")]
    if not found:
        pytest.skip("pyspark has no zstd-jni")
    return found[0]


def test_java_reads_what_we_write(tmp_path):
    java = shutil.which("java")
    if (
        java is None
        or b"jdk.compiler" not in subprocess.run([java, "--list-modules"], capture_output=True, check=False).stdout
    ):
        pytest.skip("no Java that compiles")
    page = REPOSITORY.joinpath("docs/understand/format.md").read_text()
    [shown] = re.findall(r"```java\n(static byte\[\] data\(byte\[\] payload.*?)```", page, re.DOTALL)
    datas = [event(i) for i in range(50)] + [b"\xf8Zab", b"plain", b"", event(1) * 300, bytes(10_000)]
    payloads = DictionaryCodec(dictionary()).encode_many(datas)
    source, known, given = (tmp_path / name for name in ("ReadPayloads.java", "dictionary", "payloads"))
    source.write_text(PROGRAM % shown)
    known.write_bytes(dictionary())
    given.write_text("".join(payload.hex() + "\n" for payload in payloads))
    done = subprocess.run(
        [java, "-cp", zstd_jni(), source, known, given], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [data.hex() for data in datas]
