"""numpy, imported when a test asks for it: the native tests run under sanitizers, which it would only slow."""

from __future__ import annotations

from importlib import import_module


def as_array(buffer):
    """The buffer as numpy sees it, and the address of its first byte."""
    array = import_module("numpy").asarray(buffer)
    return array, array.__array_interface__["data"][0]
