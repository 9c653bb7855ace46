"""Build the fuzz targets, run each for its share of the time, say what was reached.

    python fuzz/run.py --seconds 60 [target ...]

``invariants`` and ``protobuf`` are libFuzzer targets over csrc/deaggregate, ``upb`` an atheris target over the
extensions, ``router`` a libFuzzer target over csrc/router and csrc/bucket, ``put_reply`` one over csrc/put_reply,
``reply`` one over csrc/reply, ``botocore`` an atheris target over what reads bodies with that, ``cbor_json`` one over
csrc/cbor_json, and ``compressed`` one over csrc/compressed; all under ASan and UBSan. The first three share a corpus of
messages, build/fuzz/corpus, ``router`` has one of programs, build/fuzz/programs; build/fuzz/put_replies,
build/fuzz/cbor_answers, build/fuzz/compressed_records and build/fuzz/replies (of ``reply`` and ``botocore``) are of
answers. A later run goes on with them. Where a target fails, this ends with 1 and the input is kept in
build/fuzz/findings.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from seeds import LONGEST, compressed_records, messages, replies, write_seeds

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "fuzz"
SANITIZE = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
COUNT_EDGES = ["-fsanitize=fuzzer-no-link"]
WARN = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-Icsrc"]
COVERAGE = ["-g", "-O0", "-fprofile-instr-generate", "-fcoverage-mapping"]
WALK = ["csrc/deaggregate.c", "csrc/wire_record.c"]
MANY = ["csrc/contents.c", "csrc/columns.c", "csrc/md5_portable.c"]
ROUTER = ["csrc/router.c", "csrc/bucket.c", "csrc/shard_table.c", "csrc/md5_portable.c"]
PUT_REPLY = ["fuzz/put_reply_invariants.c", "csrc/put_reply.c"]
REPLY = ["fuzz/reply_invariants.c", "csrc/reply.c", "csrc/base64_portable.c"]
COMPRESSED = ["fuzz/compressed_invariants.c", "csrc/compressed.c"]
CBOR_JSON = ["fuzz/cbor_json_invariants.c", "csrc/cbor_json.c"]
WATCH_MALLOC = ["-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free"]
COVERED = {
    "messages": [*WALK, "csrc/contents.c", "csrc/columns.c", "csrc/varint.h", "csrc/hash_key.h"],
    "programs": ["csrc/router.c", "csrc/bucket.c", "csrc/text_table.h"],
    "put_replies": ["csrc/put_reply.c"],
    "replies": ["csrc/reply.c", "csrc/json_reader.h", "csrc/epoch_seconds.h"],
    "cbor_answers": ["csrc/cbor_json.c"],
    "compressed_records": ["csrc/compressed.c"],
}


def run(*command: str | Path, **environment: str) -> str:
    """Run a command to its good end; its output where it prints one."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}")
    return done.stdout


# --- what it needs ---


def runtime_library() -> bool:
    directories = run("clang", "-print-runtime-dir").strip(), run("clang", "-print-resource-dir").strip() + "/lib"
    return any(found for directory in directories for found in Path(directory).rglob("libclang_rt.fuzzer-*.a"))


def protobuf_headers() -> bool:
    include = "#include <google/protobuf/message.h>"
    command = ["clang++", "-E", "-x", "c++", "-"]
    return subprocess.run(command, input=include.encode(), capture_output=True, check=False).returncode == 0


NEEDS = {  # in this order: Debian's package, and how to tell that it is there
    "clang": lambda: shutil.which("clang") and shutil.which("clang++"),
    "libclang-rt-dev": runtime_library,
    "llvm": lambda: shutil.which("llvm-cov") and shutil.which("llvm-profdata"),
    "protobuf-compiler": lambda: shutil.which("protoc"),
    "libprotobuf-dev": protobuf_headers,
}


def demand_needs() -> None:
    for package, is_there in NEEDS.items():
        if not is_there():
            sys.exit(f"make fuzz needs Debian's package {package}: apt-get install {' '.join(NEEDS)}")


# --- build ---


def build_invariants() -> list[str | Path]:
    sources = ["fuzz/deaggregate_invariants.c", "fuzz/message_mutator.c", *WALK, *MANY]
    out = BUILD / "invariants"
    run("clang", "-std=c11", *SANITIZE, *WARN, "-fsanitize=fuzzer", *sources, "-o", out)
    return [out]


def build_protobuf() -> list[str | Path]:
    """Link our C with protoc's C++ for the format; that counts its edges too, libprotobuf itself does not."""
    generated, out = BUILD / "generated", BUILD / "protobuf"
    generated.mkdir(exist_ok=True)
    objects = [generated / name for name in ("deaggregate.o", "wire_record.o", "message_mutator.o")]
    schema = generated / "aggregated_record.o"
    run("protoc", "--proto_path=tests", f"--cpp_out={generated}", "tests/aggregated_record.proto")
    for source, compiled in zip((*WALK, "fuzz/message_mutator.c"), objects, strict=True):
        run("clang", "-std=c11", *SANITIZE, *COUNT_EDGES, *WARN, "-c", source, "-o", compiled)
    cpp = ["clang++", "-std=c++17", "-DNDEBUG", *SANITIZE]
    run(*cpp, *COUNT_EDGES, "-c", generated / "aggregated_record.pb.cc", "-o", schema)
    libraries = ["-lprotobuf", "-pthread"]
    run(
        *[*cpp, "-fsanitize=fuzzer", *WARN, "-isystem", generated],
        *["fuzz/deaggregate_protobuf.cc", *objects, schema, *libraries, "-o", out],
    )
    return [out]


def build_upb() -> list[str | Path]:
    """Build the extensions with clang's sanitizers and edge counters, whose runtime comes with atheris."""
    switches = {"SHARDPACK_SANITIZE": "1", "CC": "clang", "LDSHARED": "clang -shared"}
    flags = " ".join([*COUNT_EDGES, "-Wno-unknown-warning-option"])
    directories = ["--build-base", BUILD / "extensions", "--build-lib", BUILD / "lib"]
    run(sys.executable, "setup.py", "--quiet", "build", *directories, **switches, CFLAGS=flags)
    return [sys.executable, "fuzz/deaggregate_upb.py"]


def build_router() -> list[str | Path]:
    """Its allocations go through fuzz/failing_malloc, which lets some of them fail."""
    sources, out = ["fuzz/router_invariants.c", "fuzz/failing_malloc.c", *ROUTER], BUILD / "router"
    run("clang", "-std=c11", *SANITIZE, *WARN, "-fsanitize=fuzzer", *WATCH_MALLOC, *sources, "-o", out)
    return [out]


def build_put_reply() -> list[str | Path]:
    out = BUILD / "put_reply"
    run("clang", "-std=c11", *SANITIZE, *WARN, "-fsanitize=fuzzer", *PUT_REPLY, "-o", out)
    return [out]


def build_reply() -> list[str | Path]:
    out = BUILD / "reply"
    run("clang", "-std=c11", *SANITIZE, *WARN, "-fsanitize=fuzzer", *REPLY, "-o", out)
    return [out]


def build_botocore() -> list[str | Path]:
    return [*build_upb()[:1], "fuzz/reply_botocore.py"]


def build_cbor_json() -> list[str | Path]:
    out = BUILD / "cbor_json"
    run("clang", "-std=c11", *SANITIZE, *WARN, "-fsanitize=fuzzer", *CBOR_JSON, "-o", out)
    return [out]


def build_compressed() -> list[str | Path]:
    out = BUILD / "compressed"
    run("clang", "-std=c11", *SANITIZE, *WARN, "-fsanitize=fuzzer", *COMPRESSED, "-o", out)
    return [out]


def atheris_environment() -> dict[str, str]:
    import atheris  # noqa: PLC0415 - the other targets go without

    return {
        "LD_PRELOAD": str(Path(atheris.path()) / "asan_with_fuzzer.so"),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter's own
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(BUILD / "lib"),
    }


TARGETS = {
    "invariants": build_invariants,
    "protobuf": build_protobuf,
    "upb": build_upb,
    "router": build_router,
    "put_reply": build_put_reply,
    "reply": build_reply,
    "botocore": build_botocore,
    "cbor_json": build_cbor_json,
    "compressed": build_compressed,
}


# --- run ---


def inputs_of(name: str) -> list[str | Path]:
    """Options and directories of what a target begins with; new inputs go to the first directory."""
    if name == "router":
        return [BUILD / "programs"]
    if name == "put_reply":
        return ["-dict=fuzz/put_reply.dict", BUILD / "put_replies"]
    if name in {"reply", "botocore"}:
        return ["-dict=fuzz/reply.dict", BUILD / "replies", BUILD / "reply_seeds"]
    if name == "cbor_json":
        return [BUILD / "cbor_answers"]
    if name == "compressed":
        return ["-dict=fuzz/compressed.dict", BUILD / "compressed_records", BUILD / "compressed_seeds"]
    return ["-dict=fuzz/message.dict", BUILD / "corpus", BUILD / "seeds"]


def fuzz(name: str, command: list[str | Path], seconds: int) -> bool:
    """Run a target, print what it reached. False where it found something."""
    findings = BUILD / "findings"
    findings.mkdir(exist_ok=True)
    environment = atheris_environment() if name in {"upb", "botocore"} else {}
    options = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=10", "-rss_limit_mb=2048"]
    options += ["-print_final_stats=1", f"-artifact_prefix={findings}/{name}-"]
    log = BUILD / f"{name}.log"
    with log.open("w") as out:
        done = subprocess.run(
            [*command, *options, *inputs_of(name)],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=out,
            stderr=out,
            check=False,
        )
    text = log.read_text(errors="replace")
    found = re.findall(r"Test unit written to (\S+)", text)
    edges, features = re.findall(r"cov: (\d+) ft: (\d+)", text)[-1] if " ft: " in text else ("?", "?")
    executions = re.findall(r"number_of_executed_units: (\d+)", text) or ["0"]
    per_second = re.findall(r"average_exec_per_sec: +(\d+)", text) or ["0"]
    print(
        f"{name:12}{int(executions[0]):>14,} executions{int(per_second[0]):>10,} a second"
        f"{edges:>7} edges{features:>7} features",
        flush=True,
    )
    if done.returncode == 0:
        return True
    print(*text.splitlines()[-40:], sep="\n")
    print(f"{name}: a finding; input: {', '.join(found) or 'none'}; log: {log}")
    return False


def print_coverage(kind_of_input: str, sources: list[str], *inputs: Path) -> None:
    """Say how much of csrc the corpus reaches: every input once through the target, without sanitizers."""
    program, raw, profile = (BUILD / f"{kind_of_input}-coverage{suffix}" for suffix in ("", ".profraw", ".profdata"))
    run("clang", "-std=c11", *COVERAGE, *WARN, "-fsanitize=fuzzer", *sources, "-o", program)
    with (BUILD / f"{kind_of_input}-coverage.log").open("w") as log:
        environment = {**os.environ, "LLVM_PROFILE_FILE": str(raw)}
        subprocess.run([program, "-runs=0", *inputs], cwd=ROOT, env=environment, stdout=log, stderr=log, check=True)
    run("llvm-profdata", "merge", "-sparse", raw, "-o", profile)
    exported = run("llvm-cov", "export", "-summary-only", f"-instr-profile={profile}", program)
    for file in json.loads(exported)["data"][0]["files"]:
        name = os.path.relpath(file["filename"], ROOT)
        if name in COVERED[kind_of_input]:
            counted = (file["summary"][kind] | {"kind": kind} for kind in ("functions", "lines", "regions"))
            parts = ["{covered} of {count} {kind}".format_map(one) for one in counted]
            print(f"{name:24}{', '.join(parts)}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the deaggregator, the router, and the readers of answers.")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("targets", nargs="*", metavar="target", help=f"{', '.join(TARGETS)}; default: all")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    names = arguments.targets or list(TARGETS)
    demand_needs()
    for directory in ("corpus", "programs", "put_replies", "replies", "cbor_answers", "compressed_records"):
        (BUILD / directory).mkdir(parents=True, exist_ok=True)
    write_seeds(BUILD / "seeds", messages())
    write_seeds(BUILD / "reply_seeds", replies())
    write_seeds(BUILD / "compressed_seeds", compressed_records())
    commands = {name: TARGETS[name]() for name in names}
    sound = [fuzz(name, commands[name], max(1, arguments.seconds // len(names))) for name in names]
    if not all(sound):
        sys.exit(1)
    of_messages = ["fuzz/deaggregate_invariants.c", *WALK, *MANY]
    of_programs = ["fuzz/router_invariants.c", "fuzz/failing_malloc.c", *ROUTER, *WATCH_MALLOC]
    print_coverage("messages", of_messages, BUILD / "corpus", BUILD / "seeds")
    print_coverage("programs", of_programs, BUILD / "programs")
    print_coverage("put_replies", PUT_REPLY, BUILD / "put_replies")
    print_coverage("replies", REPLY, BUILD / "replies", BUILD / "reply_seeds")
    print_coverage("cbor_answers", CBOR_JSON, BUILD / "cbor_answers")
    print_coverage("compressed_records", COMPRESSED, BUILD / "compressed_records", BUILD / "compressed_seeds")


if __name__ == "__main__":
    main()
