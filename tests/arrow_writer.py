"""Arrow's C data interface written with ctypes, as its specification has it: also by producers that get it wrong.

Buffers are allocated exactly, so that a sanitizer sees who reads beyond; they are overwritten when they are released,
and every release is noted.
"""

from __future__ import annotations

import ctypes
import itertools
import struct
from dataclasses import dataclass, field

from arrow_reader import Array, Schema, Stream


class Releases(list):
    """The names of what was released, in order; ``exported`` has those of all arrays and streams."""

    def __init__(self):
        super().__init__()
        self.exported = []


RELEASE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_capsule_of = ctypes.pythonapi.PyCapsule_New
_capsule_of.restype, _capsule_of.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

_kept = {}
"""By their private data: the name of what is exported, what it consists of, and where its release is noted."""
_numbers = itertools.count(1)


@dataclass(eq=False)
class Column:
    """An array and its type; ``buffers`` are bytes, or ``None`` for a null pointer."""

    format: bytes
    length: int
    buffers: list[bytes | None]
    name: str | None = None
    offset: int = 0
    null_count: int = -1
    children: list[Column | None] = field(default_factory=list)
    dictionary: Column | None = None
    n_buffers: int | None = None
    n_children: int | None = None
    is_released: bool = False
    has_no_buffers: bool = False


def keep(structure, name, parts, released):
    number = next(_numbers)
    if isinstance(released, Releases):
        released.exported.append(name)
    _kept[number] = name, parts, released
    structure.private_data = number


def letting_go(kind):
    @RELEASE
    def release(address):
        structure = kind.from_address(address)
        name, parts, released = _kept.pop(structure.private_data)
        released.append(name)
        for part in parts:
            if isinstance(part, (Array, Schema)) and part.release:
                RELEASE(part.release)(ctypes.addressof(part))
            elif isinstance(part, ctypes.Array) and part._type_ is ctypes.c_char:
                ctypes.memset(part, 0xDD, len(part))
        structure.release = None

    return release


_release_array, _release_schema, _release_stream = map(letting_go, (Array, Schema, Stream))


def pointer(callback):
    return ctypes.cast(callback, ctypes.c_void_p).value


def array_of(column, released, name="batch"):
    """Export an array. Its buffers and children are released with it, unless they were moved out."""
    parts = []
    out = Array(length=column.length, null_count=column.null_count, offset=column.offset)
    buffers = [None if each is None else ctypes.create_string_buffer(each, len(each)) for each in column.buffers]
    parts += [each for each in buffers if each is not None]
    addresses = (ctypes.c_void_p * max(1, len(buffers)))(
        *(None if each is None else ctypes.addressof(each) for each in buffers)
    )
    children = [
        None if each is None else array_of(each, released, each.name or str(i))
        for i, each in enumerate(column.children)
    ]
    pointers = (ctypes.POINTER(Array) * max(1, len(children)))(
        *(ctypes.POINTER(Array)() if each is None else ctypes.pointer(each) for each in children)
    )
    out.n_buffers = len(buffers) if column.n_buffers is None else column.n_buffers
    if not column.has_no_buffers:
        out.buffers = ctypes.cast(addresses, type(out.buffers))
    out.n_children = len(children) if column.n_children is None else column.n_children
    if children:
        out.children = ctypes.cast(pointers, type(out.children))
    parts += [addresses, pointers, *(each for each in children if each is not None)]
    if column.dictionary is not None:
        values = array_of(column.dictionary, released, f"{name}'s dictionary")
        out.dictionary = ctypes.pointer(values)
        parts.append(values)
    if not column.is_released:
        out.release = pointer(_release_array)
        keep(out, name, parts, released)
    return out


def schema_of(column, released, name="schema"):
    out = Schema(format=column.format, name=None if column.name is None else column.name.encode(), flags=2)
    children = [schema_of(each, [], each.name or "") for each in column.children if each is not None]
    pointers = (ctypes.POINTER(Schema) * max(1, len(children)))(*map(ctypes.pointer, children))
    out.n_children = len(children)
    if children:
        out.children = ctypes.cast(pointers, type(out.children))
    parts = [pointers, *children]
    if column.dictionary is not None:
        values = schema_of(column.dictionary, [], "")
        out.dictionary = ctypes.pointer(values)
        parts.append(values)
    out.release = pointer(_release_schema)
    keep(out, name, parts, released)
    return out


class Source:
    def close(self):
        """Release what nobody took, as capsules do."""
        for each in self.structures:
            if each.release:
                RELEASE(each.release)(ctypes.addressof(each))


class OneArray(Source):
    """Exports one array; ``released`` has the names of what was released, in order."""

    def __init__(self, batch):
        self.released = Releases()
        self.schema, self.array = schema_of(batch, self.released), array_of(batch, self.released)
        self.structures = self.schema, self.array

    def __arrow_c_array__(self, requested_schema=None):
        assert requested_schema is None
        return (
            _capsule_of(ctypes.addressof(self.schema), b"arrow_schema", None),
            _capsule_of(ctypes.addressof(self.array), b"arrow_array", None),
        )


class ManyArrays(Source):
    """Exports a stream of batches, which may fail: with the number ``error`` and its text, behind the last one."""

    def __init__(self, batches, *, schema=None, error=0, text=b"it broke", schema_error=0):
        self.released = Releases()
        self.asked = 0
        batches = list(batches)
        self._stream = Stream()
        self.structures = (self._stream,)
        name = itertools.count()

        def get_schema(_self, out):
            if schema_error:
                return schema_error
            made = schema_of(schema or batches[0], self.released)
            ctypes.memmove(out, ctypes.byref(made), ctypes.sizeof(made))
            return 0

        def get_next(_self, out):
            self.asked += 1
            ended = not batches
            if ended and error:
                return error
            made = Array() if ended else array_of(batches.pop(0), self.released, f"batch {next(name)}")
            ctypes.memmove(out, ctypes.byref(made), ctypes.sizeof(made))
            return 0

        kinds = dict(Stream._fields_)
        self._stream.get_schema = kinds["get_schema"](get_schema)
        self._stream.get_next = kinds["get_next"](get_next)
        self._text = None if text is None else ctypes.create_string_buffer(text)
        # the address of a text, which a callback of ctypes cannot return as one
        self._last_error = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(
            lambda _self: None if self._text is None else ctypes.addressof(self._text)
        )
        self._stream.get_last_error = ctypes.cast(self._last_error, kinds["get_last_error"])
        self._stream.release = pointer(_release_stream)
        keep(self._stream, "stream", [], self.released)

    def __arrow_c_stream__(self, requested_schema=None):
        assert requested_schema is None
        return _capsule_of(ctypes.addressof(self._stream), b"arrow_array_stream", None)


def bits(values):
    """The validity of values, ``None`` being null; no buffer where all are valid."""
    if None not in values:
        return None
    packed = bytearray((len(values) + 7) // 8)
    for i, value in enumerate(values):
        packed[i // 8] |= (value is not None) << i % 8
    return bytes(packed)


def texts(values, form=b"u", **more):
    """A column of str or bytes in the layout of a format: u, z, U, Z, vu, vz or w:n."""
    content = [b"" if each is None else each.encode() if isinstance(each, str) else each for each in values]
    if form in (b"u", b"z", b"U", b"Z"):
        ends = [0, *itertools.accumulate(map(len, content))]
        buffers = [struct.pack(f"={len(ends)}{'i' if form in (b'u', b'z') else 'q'}", *ends), b"".join(content)]
    elif form[:1] == b"v":
        views, place, parts = b"", [0, 0], [b"", b""]
        for i, each in enumerate(content):
            if len(each) <= 12:
                views += struct.pack("=i", len(each)) + each.ljust(12, b"\0")
            else:
                which = i % 2
                views += struct.pack("=i4sii", len(each), each[:4], which, place[which])
                parts[which] += each
                place[which] += len(each)
        buffers = [views, *parts, struct.pack("=2q", *place)]
    else:
        buffers = [b"".join(each.ljust(int(form[2:]), b"\0") for each in content)]
    return Column(form, len(content), [bits(values), *buffers], **more)


def integers(values, form=b"l", **more):
    width = {b"c": 1, b"s": 2, b"i": 4, b"l": 8}.get(form.lower(), 16)
    signed = form.islower() or width == 16
    packed = b"".join((each or 0).to_bytes(width, "little", signed=signed) for each in values)
    return Column(form, len(values), [bits(values), packed], **more)


def indexed(values, form=b"u", index=b"i", **more):
    """A column with a dictionary."""
    distinct = list(dict.fromkeys(each for each in values if each is not None)) or [b""]
    column = integers([None if each is None else distinct.index(each) for each in values], index, **more)
    column.dictionary = texts(distinct, form)
    return column


def nulls(count, **more):
    return Column(b"n", count, [], **more)


def batch(*columns, offset=0, length=None, validity=None):
    """A record batch of columns that have their names."""
    rows = columns[0].length - offset if length is None else length
    return Column(b"+s", rows, [validity], offset=offset, children=list(columns))
