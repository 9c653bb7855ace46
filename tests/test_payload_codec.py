"""Payloads compressed with a dictionary, and read back; whatever else is in their place is told, and stays whole."""

from __future__ import annotations

import asyncio
import random
import tracemalloc

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from in_threads import in_threads
from payloads import dictionary, event
from process_memory import memory

from shardpack import AsyncProducer, Producer, RecordTooLargeError, deaggregate
from shardpack.codec import DictionaryCodec, DictionaryFiles, PayloadReader, dictionaries, train
from shardpack.codec.dictionary import MAX_DICTIONARY_BYTES
from shardpack.codec.payload import MAGIC
from shardpack.codec.reading import MAX_KEPT, MAX_UNKNOWN
from shardpack.errors import (
    PayloadError,
    PayloadTooLargeError,
    ShardpackError,
    UnknownDictionaryError,
    UnknownPayloadFormError,
)
from shardpack.testing import history

CODEC = DictionaryCodec(dictionary())
READER = PayloadReader(dictionary())
ANY_DATA = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=9).map(lambda data: MAGIC + data),
    st.builds(lambda unit, times: unit * times, st.binary(min_size=1, max_size=9), st.integers(0, 3_000)),
    st.integers(0, 10_000).map(event),
)


def frame_of(payload: bytes) -> bytes:
    return b"\x28\xb5\x2f\xfd" + payload[3:]


def test_a_payload_is_what_zstandard_reads():
    data = event(5)
    payload = CODEC.encode(data)
    assert payload[:3] == b"\xf8Z\1"
    assert len(payload) < len(data) / 2
    known = zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(dictionary()))
    assert known.decompress(frame_of(payload)) == data
    parameters = zstandard.get_frame_parameters(frame_of(payload))
    assert (parameters.content_size, parameters.dict_id) == (len(data), CODEC.dictionary_id)
    assert not parameters.has_checksum


@pytest.mark.parametrize(("number", "more"), [(200, 0), (60_000, 1), (2_000_000_000, 3)])
def test_small_numbers_of_dictionaries_take_fewer_bytes(number, more):
    codec = DictionaryCodec(dictionary(number))
    assert codec.dictionary_id == number
    assert len(codec.encode(event(5))) == len(DictionaryCodec(dictionary(255)).encode(event(5))) + more
    assert PayloadReader(codec.dictionary).data(codec.encode(event(5))) == event(5)


@given(st.lists(ANY_DATA, max_size=20))
@settings(deadline=None)
def test_what_goes_in_comes_out(datas):
    payloads = CODEC.encode_many(datas)
    assert payloads == [CODEC.encode(data) for data in datas]
    assert all(
        len(payload) <= len(data) + 3 * data.startswith(MAGIC) for payload, data in zip(payloads, datas, strict=True)
    )
    assert all(len(data) <= 64 * len(payload) for payload, data in zip(payloads, datas, strict=True))
    found = READER.read(payloads)
    assert [payload.error for payload in found] == [None] * len(datas)
    assert [payload.data for payload in found] == datas
    assert [READER.data(payload) for payload in payloads] == datas


@given(st.integers(0, 500), st.data())
@settings(deadline=None)
def test_hostile_payloads_are_told_and_stay_whole(number, draw):
    payload = bytearray(CODEC.encode(event(number)))
    for _ in range(draw.draw(st.integers(1, 3))):
        payload[draw.draw(st.integers(2, len(payload) - 1))] = draw.draw(st.integers(0, 255))
    hostile = bytes(payload[: draw.draw(st.integers(2, len(payload)))])
    good = CODEC.encode(event(1))
    [before, *others, after] = READER.read([good, *[hostile] * 8, good])
    assert before.data == after.data == event(1)
    for found in others:
        if found.error is not None:
            assert isinstance(found.error, PayloadError)
            assert found.data == hostile
            with pytest.raises(PayloadError):
                found.object()


@given(st.binary(max_size=64))
def test_any_bytes_behind_the_magic_are_refused_or_read(rest):
    for start in (MAGIC, MAGIC + b"\1"):
        [found] = READER.read([start + rest])
        assert found.error is None or found.data == start + rest


def test_errors_are_of_their_kind():
    payload = CODEC.encode(event(1))
    for hostile, error, said in [
        (MAGIC, UnknownPayloadFormError, "a payload of 2 bytes has no form, where 0 and 1 are known"),
        (MAGIC + b"\2data", UnknownPayloadFormError, "has form 2"),
        (payload[:3], PayloadError, "a payload of 3 bytes has no size in its frame's header, or is cut off there"),
        (payload[:8], PayloadError, "no size in its frame's header"),
        (payload[:-1], PayloadError, f"a payload of {len(payload) - 1} bytes is damaged: "),
        (DictionaryCodec(dictionary(7)).encode(event(1)), UnknownDictionaryError, "the dictionary 7 of a payload of"),
    ]:
        with pytest.raises(error, match=said) as raised:
            READER.data(hostile)
        assert isinstance(raised.value, ValueError)
        assert isinstance(raised.value, ShardpackError)
    assert READER.read([DictionaryCodec(dictionary(7)).encode(b"a" * 99)])[0].error.dictionary_id == 7


def test_a_frame_without_a_dictionary_is_read_too():
    frame = zstandard.compress(event(1))
    assert READER.data(b"\xf8Z\1" + frame[4:]) == event(1)


def bomb(size: int) -> bytes:
    return b"\xf8Z\1" + zstandard.compress(bytes(size), 19)[4:]


def test_bombs_take_no_memory():
    honest = bomb(1 << 20)  # of some 50 bytes
    declared = b"\xf8Z\1\xe0" + (1 << 40).to_bytes(8, "little") + bytes(20)
    short = b"\xf8Z\1\x20\x05" + frame_of(honest)[9:]  # says 5, has more
    READER.read([CODEC.encode(event(1))])
    tracemalloc.start()
    try:
        found = READER.read([honest, declared, short] * 50)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
    assert {type(payload.error) for payload in found} == {PayloadTooLargeError, PayloadError}
    assert "more than 64 times as many" in str(found[0].error)


@pytest.mark.parametrize("window", [0x00, 0x88, 0xA8, 0xFF])
def test_windows_of_a_frame_take_no_memory_either(window):
    """A frame's window may be said to be of terabytes: what counts is the size of the data."""
    raw = (1 | 300 << 3).to_bytes(3, "little") + b"x" * 300
    payload = b"\xf8Z\1" + bytes([0x40, window]) + (300 - 256).to_bytes(2, "little") + raw
    before = memory("VmHWM")
    for found in READER.read([payload] * 50) + READER.read([payload]):
        assert found.data == (b"x" * 300 if found.error is None else payload)
        assert (window == 0xFF) == (found.error is not None)
    assert memory("VmHWM") - before < 32 << 20


def test_data_may_be_bounded_by_the_reader():
    payload = CODEC.encode(bytes(10_000))
    assert PayloadReader(dictionary(), max_bytes=10_000).data(payload) == bytes(10_000)
    with pytest.raises(PayloadTooLargeError, match="says that it has 10,000, more than the 9,999 that it may"):
        PayloadReader(dictionary(), max_bytes=9_999).data(payload)


def test_many_threads_at_once():
    datas = [event(i) for i in range(500)]
    expected = CODEC.encode_many(datas)

    def work():
        for _ in range(5):
            payloads = CODEC.encode_many(datas)
            assert payloads == expected
            assert CODEC.encode(datas[7]) == expected[7]
            assert [payload.data for payload in READER.read(payloads)] == datas

    in_threads(4, work)


# --- dictionaries ---


def test_what_is_no_dictionary_is_refused(tmp_path):
    for given_, error, said in [
        (b"text", ValueError, "no zstd dictionary"),
        (dictionary()[:8] + bytes(300), ValueError, "the dictionary is damaged: "),
        (str(tmp_path / "none"), OSError, "none"),
    ]:
        with pytest.raises(error, match=said):
            DictionaryCodec(given_)
    for level in (-8, 23):
        with pytest.raises(ValueError, match=f"level of {level} is not between -7 and 22"):
            DictionaryCodec(dictionary(), level=level)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(MAX_DICTIONARY_BYTES + 1)
    with pytest.raises(ValueError, match="larger than a dictionary may be: 16,777,216"):
        DictionaryCodec(large)
    with pytest.raises(TypeError, match="dictionaries are bytes, a path, a mapping by id, or have find"):
        PayloadReader(7)


def test_training_says_what_it_lacks():
    with pytest.raises(
        ValueError, match=r"2 samples of 8 bytes make no dictionary of 65,536: .*give more, or a smaller"
    ):
        train([b"21.5", b"21.6"])
    for size in (255, MAX_DICTIONARY_BYTES + 1):
        with pytest.raises(ValueError, match="is not between 256 and 16,777,216"):
            train([b"a"], size)
    for number in (0, 2**32):
        with pytest.raises(ValueError, match="dictionary_id of"):
            train([b"a"], dictionary_id=number)


def test_a_folder_of_dictionaries(tmp_path, monkeypatch):
    tmp_path.joinpath("notes.txt").write_text("none")
    tmp_path.joinpath("short").write_bytes(dictionary()[:5])
    tmp_path.joinpath("folder").mkdir()
    tmp_path.joinpath("one").write_bytes(dictionary(1))
    reader = PayloadReader(tmp_path)
    assert reader.data(DictionaryCodec(tmp_path / "one").encode(event(1))) == event(1)
    second = DictionaryCodec(dictionary(2)).encode(event(1))
    with pytest.raises(UnknownDictionaryError):
        reader.data(second)
    tmp_path.joinpath("two").write_bytes(dictionary(2))
    with pytest.raises(UnknownDictionaryError):
        reader.data(second)  # it is not asked for again so soon
    assert PayloadReader(tmp_path).data(second) == event(1)
    tmp_path.joinpath("copy").write_bytes(dictionary(1))
    assert DictionaryFiles(tmp_path).find(1) == dictionary(1)
    tmp_path.joinpath("other").write_bytes(train([event(i) for i in range(999)], 1024, dictionary_id=1))
    with pytest.raises(ValueError, match=r"two dictionaries have the id 1: .*copy and .*other"):
        DictionaryFiles(tmp_path).find(1)
    monkeypatch.setattr(dictionaries, "MAX_FILES", 3)
    with pytest.raises(ValueError, match="files, more than 3"):
        DictionaryFiles(tmp_path).find(1)


class Table:
    """Counts how often it is asked."""

    def __init__(self, found):
        self.found, self.asked = found, []

    def find(self, dictionary_id):
        self.asked.append(dictionary_id)
        return self.found(dictionary_id)


def test_a_dictionary_is_asked_for_once():
    table = Table(dictionary)
    reader = PayloadReader(table)
    datas = [DictionaryCodec(dictionary(number)).encode(event(1)) for number in (1, 2, 1)]
    assert [payload.data for payload in reader.read(datas * 3)] == [event(1)] * 9
    assert table.asked == [1, 2]
    reader.read(datas)
    assert table.asked == [1, 2]


def test_what_is_not_found_is_asked_for_once_a_minute_and_remembered_within_bounds():
    table = Table(lambda _: None)
    reader = PayloadReader(table)
    payload = CODEC.encode(event(1))
    numbered = [payload[:5] + number.to_bytes(4, "little") + payload[9:] for number in range(1, MAX_UNKNOWN + 9)]
    found = reader.read(numbered * 2)
    assert all(isinstance(each.error, UnknownDictionaryError) for each in found)
    assert len(table.asked) == len(set(table.asked))
    assert len(reader._unknown) <= MAX_UNKNOWN
    reader._unknown[table.asked[-1]] = 0.0
    before = len(table.asked)
    reader.read([numbered[-1]])
    assert len(table.asked) == before + 1


def test_dictionaries_are_kept_within_bounds():
    reader = PayloadReader(Table(dictionary))
    for number in range(1, MAX_KEPT + 5):
        assert reader.data(DictionaryCodec(dictionary(number)).encode(event(1))) == event(1)
        assert len(reader._unpack) <= MAX_KEPT


def test_what_find_raises_is_the_callers():
    def fail(_number):
        raise ConnectionError("away")

    with pytest.raises(ConnectionError, match="away"):
        PayloadReader(Table(fail)).read([CODEC.encode(event(1))])
    with pytest.raises(ValueError, match="has the id 7"):
        PayloadReader(Table(lambda _: dictionary(7))).read([CODEC.encode(event(1))])


# --- producers ---


def test_a_producer_sends_payloads(local_kinesis, client):
    local_kinesis.create_stream("payloads", 2)
    keys, datas = [f"device-{i % 50}" for i in range(1_000)], [event(i) for i in range(1_000)]
    with Producer("payloads", client=client, payload_codec=CODEC) as producer:
        producer.put_many(keys[:900], datas[:900])
        for key, data in zip(keys[900:], datas[900:], strict=True):
            producer.put(key, data)
        producer.put("device-x", MAGIC + b"of another")
        producer.put_object("device-x", {"celsius": 21.5})
        with pytest.raises(TypeError, match="put_arrow takes rows as they are"):
            producer.put_arrow(None, key=0, data=1)
        with pytest.raises(TypeError, match="data is bytes, not str"):
            producer.put("a", "text")
        with pytest.raises(TypeError, match="record 1: data is bytes, not str"):
            producer.put_many(["a", "b"], [b"x", "text"])
        with pytest.raises(ValueError, match="1 and 2 partition keys and datas"):
            producer.put_many(["a"], [b"x", b"y"])
        producer.put_many(["device-x"], [bytearray(b"of a buffer")])
    records = [record for shard in history.read_all(client, "payloads", kcl_rule=True) for record in shard.records]
    assert sum(len(record.data) for record in records) < sum(map(len, datas)) / 2
    found = READER.read(records)
    by_key = {}
    for record, payload in zip(records, found, strict=True):
        by_key.setdefault(record.partition_key, []).append(payload.data)
    expected = {}
    for key, data in zip(
        [*keys, "device-x", "device-x", "device-x"],
        [*datas, MAGIC + b"of another", b'{"celsius":21.5}', b"of a buffer"],
        strict=True,
    ):
        expected.setdefault(key, []).append(data)
    assert by_key == expected
    assert READER.object(next(r for r in records if READER.data(r) == b'{"celsius":21.5}')) == {"celsius": 21.5}


def test_an_async_producer_sends_payloads(local_kinesis, client):
    local_kinesis.create_stream("payloads-async", 1)

    async def put():
        async with AsyncProducer("payloads-async", client=client, payload_codec=CODEC, codec="msgpack") as producer:
            await producer.put("a", event(1))
            await producer.put_many(["a"], [event(2)])
            await producer.put_object("a", [21.5, 7])

    asyncio.run(put())
    [shard] = history.read_all(client, "payloads-async", kcl_rule=True)
    assert [READER.data(record) for record in shard.records[:2]] == [event(1), event(2)]
    assert READER.object(shard.records[2]) == [21.5, 7]


def test_limits_are_those_of_the_payload(local_kinesis, client):
    local_kinesis.create_stream("payloads-large", 1)
    with Producer("payloads-large", client=client, payload_codec=CODEC) as producer:
        producer.put("a", event(1) * 10_000)  # 1.5 MB, which get small
        with pytest.raises(RecordTooLargeError):
            producer.put("a", random.Random(1).randbytes(1 << 20))
    [shard] = history.read_all(client, "payloads-large", kcl_rule=True)
    assert READER.data(shard.records[0]) == event(1) * 10_000


def test_what_is_no_codec_is_refused():
    with pytest.raises(TypeError, match=r"payload_codec has one\(\) and many\(\), as shardpack.codec.DictionaryCodec"):
        Producer("s", payload_codec=b"dictionary")


def test_deaggregate_leaves_payloads_as_they_came():
    payload = CODEC.encode(event(1))
    [record] = deaggregate(payload)
    assert record.data == payload
    with pytest.raises(PayloadError, match=r"a compressed payload: shardpack\.codec\.PayloadReader reads it"):
        record.object()
