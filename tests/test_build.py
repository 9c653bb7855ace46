"""How the extensions are compiled."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import Cython.Build
import pytest
import setuptools

from shardpack._native import aggregate, columns, deaggregate

ROOT = Path(__file__).parent.parent
HARDENING = {"-fstack-protector-strong", "-D_FORTIFY_SOURCE=3"}
PYTHONS_OWN = {"CC": "gcc", "CFLAGS": "-O2", "CPPFLAGS": ""}


@pytest.fixture
def hardening_of(monkeypatch):
    """Which of the hardening flags setup.py gives to every extension, in an environment."""
    given: dict[str, str] = dict(PYTHONS_OWN)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(Cython.Build, "cythonize", lambda modules, **_: modules)
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    monkeypatch.setattr("sysconfig.get_config_var", given.get)
    for name in (*PYTHONS_OWN, "SHARDPACK_DEBUG", "SHARDPACK_SANITIZE", "SHARDPACK_COVERAGE"):
        monkeypatch.delenv(name, raising=False)

    def hardening_of(pythons_own: dict[str, str], **environment: str) -> set[str]:
        given.update(pythons_own)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        flags = {tuple(e.extra_compile_args) for e in runpy.run_path(str(ROOT / "setup.py"))["extensions"]}
        assert len(flags) == 1
        return {flag for flag in flags.pop() if "stack-protector" in flag or "FORTIFY" in flag}

    return hardening_of


def test_extensions_are_hardened(hardening_of):
    assert hardening_of({}) == HARDENING
    assert hardening_of({}, CFLAGS="-march=native") == HARDENING


@pytest.mark.parametrize("name", ["CC", "CFLAGS", "CPPFLAGS"])
def test_the_choice_of_a_distribution_stands(hardening_of, name):
    own = "-O2 -fstack-protector-all -U_FORTIFY_SOURCE"
    assert hardening_of({name: own}) == set()
    assert hardening_of(PYTHONS_OWN, **{name: own}) == set()
    assert hardening_of(PYTHONS_OWN, **{name: "-D_FORTIFY_SOURCE=2"}) == {"-fstack-protector-strong"}


@pytest.mark.parametrize("switch", ["DEBUG", "SANITIZE", "COVERAGE"])
def test_builds_that_look_for_faults_are_not_hardened(hardening_of, switch):
    assert hardening_of({}, **{f"SHARDPACK_{switch}": "1"}) == set()


@pytest.mark.skipif(sys.platform != "linux", reason="symbols as glibc and musl name them")
@pytest.mark.parametrize("module", [aggregate, deaggregate, columns])
def test_what_is_installed_is_hardened(module):
    content = Path(module.__file__).read_bytes()
    if b"__asan_init" in content:
        pytest.skip("built under sanitizers")
    assert b"__stack_chk_fail" in content
