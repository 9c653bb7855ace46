"""Build the native core: one extension file, with all of csrc/ and a module per concept in it.

SHARDPACK_SANITIZE=1 builds under AddressSanitizer and UBSan, SHARDPACK_COVERAGE=1 for gcov,
SHARDPACK_DEBUG=1 without optimisation. SHARDPACK_RELEASE=1 builds what is published: smaller, in twice the time.
"""

import os
import re
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

compile_args = ["-std=c11", "-g0", "-fvisibility=hidden", "-Wno-maybe-uninitialized"]
if sys.platform != "linux":  # there the compiler is Clang, which does not know that warning
    compile_args.remove("-Wno-maybe-uninitialized")
# Less of Cython's own code, which each module has a copy of: KB of a wheel, and what becomes slower.
compile_args += [
    "-DCYTHON_VECTORCALL_TPNEW=0",  # 7: the making of an object is written twice, for faster calls
    "-DCYTHON_FAST_THREAD_STATE=0",  # 6: exceptions set and fetched without calls of CPython's
    "-DCYTHON_UNPACK_METHODS=0",  # 3: bound methods called without the object between; hot paths have none
    "-DCYTHON_USE_PYLONG_INTERNALS=0",  # 1: Python's numbers read as they lie
]
link_args = []
# One extension file with all the modules, not one file each, because of the size of a wheel. Compressed, GCC 12,
# CPython 3.11: 22 files 977 KB as they were, all at -O3; 585 KB with -s, -Os beside the hot modules, and functions that
# are not of Cython's own type; one file 420 KB. Speed is the same: ns per user record of 100 B, 22 files and one, least
# of 5 runs each in turns: add_many 76.4 and 77.9, deaggregate 32.4 and 32.7, columns 25.6 and 25.5, arrow 28.8 and
# 28.9; import 3.73 and 3.84 ms. -Os for all of them and -O2 for C would be 351 KB, and cost 48 in place of 33 in
# deaggregate.
TO_FIND_FAULTS = any(os.environ.get(f"SHARDPACK_{switch}") for switch in ("DEBUG", "SANITIZE", "COVERAGE"))
if not TO_FIND_FAULTS:
    if sys.platform == "linux":
        link_args += ["-s"]
    # Cost: none that shows. ns a record of 100 B without and with, GCC 12, best of 8 runs each in turns: aggregate
    # 99 and 94, deaggregate 38.8 and 39.1, columns 24.9 and 24.7, arrow 27.2 and 27.1. Not without optimisation, where
    # the second flag does nothing, nor under the sanitizers, which look closer themselves.
    hardening = {"stack-protector": "-fstack-protector-strong", "_FORTIFY_SOURCE": "-D_FORTIFY_SOURCE=3"}
    names = ("CC", "CFLAGS", "CPPFLAGS")
    given = str([(sysconfig.get_config_var(name), os.environ.get(name)) for name in names])
    compile_args += [flag for word, flag in hardening.items() if word not in given]  # a distribution's choice stands
if os.environ.get("SHARDPACK_RELEASE") and sys.platform == "linux" and not TO_FIND_FAULTS:
    # Link-time optimisation: 375 KB in place of 420. Without tables to unwind, which C needs for native stacks in a
    # profiler alone: 352 KB.
    small = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]
    compile_args += ["-flto", *small]
    link_args += ["-flto=auto", "-fuse-linker-plugin", "-Wl,-O1,--gc-sections", *small]
if os.environ.get("SHARDPACK_DEBUG"):
    compile_args += ["-O0", "-g3"]
if os.environ.get("SHARDPACK_SANITIZE"):
    sanitizers = "-fsanitize=address,undefined"
    compile_args += [sanitizers, "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-O1", "-g"]
    link_args += [sanitizers]
if os.environ.get("SHARDPACK_COVERAGE"):
    compile_args += ["--coverage", "-O0"]
    link_args += ["--coverage"]

NATIVE = Path("src/shardpack/_native")
MODULES = sorted(source.stem for source in NATIVE.glob("*.pyx"))
# A call or a loop per user record. Not aggregate, inbox and md5, whose loops are in others: at -O2 they are no faster.
HOT = {"deaggregate", "intake"}
HOT_C = {"arrow_rows", "columns", "contents", "deaggregate", "dictionary", "wire_record"}
HOT_C |= {"md5_x16_avx512", "md5_x8_avx2", "md5_x4_neon"}  # short keys take 12 % longer at -O2


class BuildNative(build_ext):
    """Compiles each source by itself, as many at once as ``-j`` says or there are cores, and only what changed."""

    def build_extension(self, ext: Extension) -> None:
        headers = max(Path(path).stat().st_mtime for path in (__file__, *ext.depends))
        macros = [*ext.define_macros, *((name,) for name in ext.undef_macros)]

        def compiled(source: str) -> str:
            flags = [] if TO_FIND_FAULTS else [optimisation(source)]
            [target] = self.compiler.object_filenames([source], output_dir=self.build_temp)
            if self.force or not newer(target, source, headers):
                self.compiler.compile(
                    [source],
                    output_dir=self.build_temp,
                    macros=macros,
                    include_dirs=ext.include_dirs,
                    extra_postargs=[*flags, *ext.extra_compile_args],
                    depends=ext.depends,
                )
            return target

        with ThreadPoolExecutor(int(self.parallel or os.cpu_count() or 1)) as threads:
            objects = list(threads.map(compiled, ext.sources))
        self.compiler.link_shared_object(
            objects,
            self.get_ext_fullpath(ext.name),
            libraries=self.get_libraries(ext),
            library_dirs=ext.library_dirs,
            extra_postargs=ext.extra_link_args,
            build_temp=self.build_temp,
        )


def optimisation(source: str) -> str:
    """-O3 for the C that reads or hashes each user record, -O2 for the rest and for hot modules, -Os for the others."""
    path = Path(source)
    if path.parent.name == "csrc":
        return "-O3" if path.stem in HOT_C else "-O2"
    return "-O2" if path.stem in HOT else "-Os"


def newer(target: str, source: str, headers: float) -> bool:
    """Whether a compiled file is newer than all that it was made from."""
    made = Path(target).stat().st_mtime if Path(target).exists() else 0
    return made > max(headers, Path(source).stat().st_mtime)


modules = cythonize(
    [Extension(f"shardpack._native.{name}", [str(NATIVE / f"{name}.pyx")]) for name in MODULES],
    build_dir="build/cython",
    compiler_directives={
        "language_level": 3,
        "cdivision": True,
        "auto_pickle": False,
        "freethreading_compatible": True,
        "binding": False,  # without the function type of Cython's own, that each module would have a copy of
        "embedsignature": True,
        "embedsignature.format": "clinic",  # which inspect.signature reads
    },
)
extensions = [
    Extension(
        "shardpack._native._modules",  # src/shardpack/_native/__init__.py finds the modules in it
        sorted(
            {source for module in modules for source in module.sources} | {str(c) for c in Path("csrc").glob("*.c")}
        ),
        include_dirs=["csrc"],
        depends=[str(path) for path in (*Path("csrc").glob("*.h"), *NATIVE.glob("*.pxd"))],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )
]

ON_GITHUB = "https://github.com/shardpack/shardpack/blob/main/"
ON_SITE = "https://shardpack.github.io/shardpack/"


def long_description() -> str:
    """README.md as PyPI shows it: links and pictures lead to the site and the repository."""
    text = Path("README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\(docs/(img/[^)]*)\)", rf"]({ON_SITE}\1)", text)
    text = re.sub(r"\]\(docs/([^)#]*)\.md(#[^)]*)?\)", lambda link: f"]({ON_SITE}{link[1]}/{link[2] or ''})", text)
    return re.sub(r"\]\((?!https?://|#)([^)]*)\)", rf"]({ON_GITHUB}\1)", text)


setup(
    ext_modules=extensions,
    cmdclass={"build_ext": BuildNative},
    long_description=long_description(),
    long_description_content_type="text/markdown",
)
