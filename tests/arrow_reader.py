"""Arrow's C data interface read with ctypes, as its specification has it: for tests that load no Arrow library.

Structures are moved as consumers move them: copied, and the source marked released.
"""

from __future__ import annotations

import ctypes
import struct
from datetime import datetime, timedelta, timezone

NULLABLE = 2


class Schema(ctypes.Structure):
    pass


Schema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_char_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.POINTER(ctypes.POINTER(Schema))),
    ("dictionary", ctypes.POINTER(Schema)),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]


class Array(ctypes.Structure):
    pass


Array._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(Array))),
    ("dictionary", ctypes.POINTER(Array)),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]


class Stream(ctypes.Structure):
    _fields_ = (
        ("get_schema", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(Schema))),
        ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(Array))),
        ("get_last_error", ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)),
        ("release", ctypes.c_void_p),
        ("private_data", ctypes.c_void_p),
    )


CAPSULES = {b"arrow_schema": Schema, b"arrow_array": Array, b"arrow_array_stream": Stream}

_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def moved(source):
    """Take a structure over: the copy is ours to release, what it was taken from is released."""
    copy = type(source)()
    ctypes.memmove(ctypes.byref(copy), ctypes.byref(source), ctypes.sizeof(source))
    source.release = None
    return copy


def inside(capsule, name):
    """The structure in a capsule, where it is."""
    return CAPSULES[name].from_address(_pointer_of(capsule, name))


def take(capsule, name):
    return moved(inside(capsule, name))


def release(structure):
    """Call the release callback, which marks the structure."""
    assert structure.release
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(structure.release)(ctypes.addressof(structure))
    assert not structure.release


def bits(address, n):
    packed = ctypes.string_at(address, (n + 7) // 8)
    return [bool(packed[i // 8] >> i % 8 & 1) for i in range(n)]


def numbers(address, n, code):
    return struct.unpack(f"={n}{code}", ctypes.string_at(address, n * struct.calcsize(f"={code}")))


def viewed(array):
    """The rows of a column of binary views: 16 bytes each, the payload itself or its buffer and place there."""
    sizes = numbers(array.buffers[array.n_buffers - 1], array.n_buffers - 3, "q")
    found = []
    for i in range(array.length):
        view = ctypes.string_at(array.buffers[1] + 16 * i, 16)
        size, prefix, buffer, offset = struct.unpack("=i4sii", view)
        if size <= 12:
            found.append(view[4 : 4 + size])
            assert view[4 + size :] == bytes(12 - size)
        else:
            assert 0 <= buffer < len(sizes)
            assert 0 <= offset <= sizes[buffer] - size
            found.append(ctypes.string_at(array.buffers[2 + buffer] + offset, size))
            assert found[-1].startswith(prefix)
    return found


def values(schema, array):
    """The rows of an array as Python objects, of the formats that are used here."""
    n, buffers = array.length, array.buffers
    assert array.offset == 0
    valid = bits(buffers[0], n) if buffers[0] else [True] * n
    assert array.null_count == valid.count(False)
    assert schema.flags & NULLABLE or array.null_count == 0
    if schema.dictionary:
        assert schema.format == b"i"
        entries = values(schema.dictionary.contents, array.dictionary.contents)
        assert len(set(entries)) == len(entries)
        found = [entries[i] if ok else None for i, ok in zip(numbers(buffers[1], n, "i"), valid, strict=True)]
    elif schema.format in (b"U", b"Z"):
        offsets = numbers(buffers[1], n + 1, "q")
        content = ctypes.string_at(buffers[2], offsets[n])
        found = [content[offsets[i] : offsets[i + 1]] for i in range(n)]
        if schema.format == b"U":
            found = [text.decode() for text in found]
    elif schema.format == b"vz":
        found = viewed(array)
    elif schema.format == b"b":
        found = bits(buffers[1], n)
    elif schema.format == b"tsu:UTC":
        epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
        found = [epoch + timedelta(microseconds=since) for since in numbers(buffers[1], n, "q")]
    else:
        assert schema.format == b"i"
        found = list(numbers(buffers[1], n, "i"))
    return [value if ok else None for value, ok in zip(found, valid, strict=True)]


def columns(schema, array):
    """The children of a struct array by name."""
    assert schema.format == b"+s"
    assert schema.n_children == array.n_children
    found = {}
    for i in range(schema.n_children):
        child = array.children[i].contents
        assert child.length == array.length
        found[schema.children[i].contents.name.decode()] = values(schema.children[i].contents, child)
    return found


def read(source):
    """All columns of an object with ``__arrow_c_array__``; everything is released again."""
    schema_capsule, array_capsule = source.__arrow_c_array__()
    schema, array = take(schema_capsule, b"arrow_schema"), take(array_capsule, b"arrow_array")
    found = columns(schema, array)
    release(schema)
    release(array)
    return found
