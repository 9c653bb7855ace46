"""Docstrings of public native names, in the stubs too: editors read those. ``python tests/stub_docstrings.py`` writes
them there as they are in the extensions; a test holds that they are the same.

Attributes have none in an extension (Cython keeps none for them): theirs are written in the stub.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import shardpack

STUBS = Path(__file__).parents[1] / "src" / "shardpack" / "_native"
WIDTH = 120


def public_names() -> dict[str, list[str]]:
    """Return the public names of each extension that has some, by the extension's name."""
    found: dict[str, list[str]] = {}
    for name in shardpack.__all__:
        module = getattr(getattr(shardpack, name), "__module__", "")
        if module.startswith("shardpack._native."):
            found.setdefault(module.rpartition(".")[2], []).append(name)
    return found


def documented(stub: ast.Module, names: list[str]) -> list[tuple[ast.ClassDef | ast.FunctionDef, str]]:
    """Return the definitions of a stub that belong to these names, each with its dotted name."""
    found: list[tuple[ast.ClassDef | ast.FunctionDef, str]] = []
    for node in stub.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in names:
            found.append((node, node.name))
            if isinstance(node, ast.ClassDef):
                members = [member for member in node.body if isinstance(member, ast.FunctionDef)]
                found += [(member, f"{node.name}.{member.name}") for member in members if not _is_special(member)]
    return found


def runtime_docstring(module: ModuleType, dotted: str) -> str | None:
    """Return what the extension says of a name, or ``None`` where it says nothing, as of an attribute."""
    value: Any = module
    for part in dotted.split("."):
        value = getattr(value, part)
    return inspect.cleandoc(value.__doc__) if value.__doc__ else None


def written(source: str, module: ModuleType, names: list[str]) -> str:
    """Return a stub with the docstrings of the extension in the place of its own."""
    lines = source.splitlines(keepends=True)
    for node, dotted in reversed(documented(ast.parse(source), names)):
        text = runtime_docstring(module, dotted)
        if text is None:
            continue
        indent = " " * (node.col_offset + 4)
        docstring = _literal(text, indent)
        first = node.body[0]
        assert first.end_lineno is not None
        if ast.get_docstring(node) is not None:
            lines[first.lineno - 1 : first.end_lineno] = [docstring]
        elif isinstance(first, ast.Expr):  # the dots of a body that is empty
            line = lines[first.end_lineno - 1]
            assert line.endswith(("...\n", "...")), line
            lines[first.end_lineno - 1] = line[: line.rindex("...")].rstrip() + "\n" + docstring
        else:
            top = min([first.lineno, *(decorator.lineno for decorator in getattr(first, "decorator_list", ()))])
            lines.insert(top - 1, docstring + "\n")
    return "".join(lines)


def _literal(text: str, indent: str) -> str:
    raw = "r" if "\\" in text else ""
    body = textwrap.indent(text, indent).strip()
    end = f"\n{indent}" if "\n" in text else ""
    return f'{indent}{raw}"""{body}{end}"""\n'


def _is_special(member: ast.FunctionDef) -> bool:
    return member.name.startswith("__")


def main() -> None:
    from importlib import import_module  # noqa: PLC0415 - for the command alone

    for name, names in public_names().items():
        path = STUBS / f"{name}.pyi"
        source = path.read_text()
        path.write_text(written(source, import_module(f"shardpack._native.{name}"), names))


if __name__ == "__main__":
    main()
