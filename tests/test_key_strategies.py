"""Key strategies, as functions and as a producer's."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import uuid
from base64 import urlsafe_b64encode
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardpack import (
    AsyncProducer,
    InvalidPartitionKeyError,
    Producer,
    Shard,
    ShardMap,
    SQLiteDeadLetters,
    deaggregate,
)
from shardpack.bench.corpus import flights
from shardpack.keys import (
    Calculated,
    ForShard,
    Hashed,
    HotKeys,
    Salted,
    Spread,
    calculated,
    escaped,
    for_shard,
    hashed,
    parts_of,
    salted,
    sub_keys,
    unsalted,
)
from shardpack.producer.doors import KeyDoor

DOCUMENT = Path(__file__).parent.parent / "docs" / "decide" / "keys.md"
HASH_KEYS = 2**128
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60) | st.from_regex(
    r"\A[a~#0-9]{1,9}~#[0-9]{0,7}\Z"
)


def md5(key):
    return int.from_bytes(hashlib.md5(key if isinstance(key, bytes) else key.encode()).digest(), "big")


# --- functions ---


@given(KEYS, st.integers(1, 40))
def test_a_sub_key_lies_in_its_part_of_the_hash_range_and_is_undone(key, n):
    for each, as_bytes in zip(sub_keys(key, n), sub_keys(key.encode(), n), strict=True):
        assert unsalted(each) == key
        assert each.encode() == as_bytes
        assert unsalted(as_bytes) == key.encode()
    assert [md5(each) * n // HASH_KEYS for each in sub_keys(key, n)] == list(range(n))
    assert set(sub_keys(key, n)) <= set(sub_keys(key, 2 * n)) or n & (n - 1)


@given(KEYS)
def test_what_is_not_split_is_given_back_as_it_was(key):
    assert unsalted(escaped(key)) == key
    assert unsalted(escaped(key.encode())) == key.encode()
    assert escaped(key) in {key, key + "~#"}
    assert unsalted(None) is None
    assert escaped(None) is None


def test_the_longest_key_that_is_split():
    longest = "é" * 248
    assert all(len(each) <= 256 for each in sub_keys(longest, 256))
    assert unsalted(salted(longest, 256)) == longest
    for key in (longest + "x", b"x" * 249):
        with pytest.raises(InvalidPartitionKeyError, match=r"249 characters.*may have 248"):
            salted(key, 2)
    with pytest.raises(InvalidPartitionKeyError, match="exceeds 256"):
        escaped("x" * 253 + "~#7")
    assert escaped("x" * 251 + "~#7") == "x" * 251 + "~#7~#"


@pytest.mark.parametrize("n", [0, 257])
def test_sub_keys_that_are_too_few_or_too_many(n):
    with pytest.raises(ValueError, match=f"{n} sub-keys: a key is split into 1 to 256"):
        salted("k", n)
    with pytest.raises(ValueError, match="1 to 256"):
        Salted(n)


def test_a_part_decides_on_the_sub_key():
    assert {salted("UA", 8, by=f"N{i}") for i in range(200)} == set(sub_keys("UA", 8))
    for part in ("N14228", b"N14228", 14228):
        made = salted("UA", 8, by=part)
        assert made == sub_keys("UA", 8)[md5(str(part) if isinstance(part, int) else part) * 8 // HASH_KEYS]
    with pytest.raises(InvalidPartitionKeyError, match="what decides on a sub-key"):
        salted("UA", 8, by="")
    assert {salted("UA", 4) for _ in range(400)} == set(sub_keys("UA", 4))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=24, max_size=500))
def test_a_long_key_is_hashed(key):
    expected = urlsafe_b64encode(hashlib.sha256(key.encode()).digest()[:18]).decode()
    assert hashed(key) == hashed(key.encode()) == expected
    assert len(expected) == 24
    assert hashed(key[:23]) == key[:23]


def test_a_key_that_is_no_text_is_not_hashed():
    with pytest.raises(InvalidPartitionKeyError, match="lone surrogate at character 2"):
        hashed("ab\ud800" + "c" * 30)


@given(st.lists(st.text(st.sampled_from("ab/~01"), max_size=5), min_size=1, max_size=5))
def test_other_parts_make_another_key(parts):
    try:
        key = calculated(*parts)
    except InvalidPartitionKeyError:
        assert parts == [""]
        return
    assert parts_of(key) == tuple(parts)
    assert unsalted(key) == key


def test_parts_that_make_no_key():
    assert calculated("a", "bc") != calculated("ab", "c")
    assert calculated(7, "x") == "7/x"
    with pytest.raises(InvalidPartitionKeyError, match="has 257 characters, which exceeds 256"):
        calculated("x" * 200, "y" * 56)
    for part in (None, True, 1.5, b"x"):
        with pytest.raises(TypeError, match="is str or int"):
            calculated(part)
    with pytest.raises(InvalidPartitionKeyError, match="is empty"):
        calculated()


@given(st.lists(st.integers(1, HASH_KEYS - 1), max_size=7, unique=True), st.data(), st.none() | KEYS)
def test_a_hash_key_in_a_shard(cuts, data, key):
    starts = [0, *sorted(cuts)]
    ends = [*(start - 1 for start in starts[1:]), HASH_KEYS - 1]
    shard_map = ShardMap(Shard(f"shardId-{i:012d}", *each) for i, each in enumerate(zip(starts, ends, strict=True)))
    i = data.draw(st.integers(0, len(starts) - 1))
    place = for_shard(shard_map, i, key)
    assert starts[i] <= place <= ends[i]
    width = ends[i] - starts[i] + 1
    assert place == starts[i] + (width // 2 if key is None else md5(key) * width // HASH_KEYS)
    with pytest.raises(IndexError, match=f"shard {len(starts)} of a map of {len(starts)}"):
        for_shard(shard_map, len(starts), key)


# --- strategies ---

RECORDS = [(f"key-{i % 5}" if i % 11 else None, b"x" * (i * 37 % 900)) for i in range(3000)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Salted(8),
        lambda: Salted(8, by=lambda _, data: len(data) + 1),
        Spread,
        lambda: Spread(run_bytes=1000),
        Hashed,
        lambda: Calculated(lambda key, data: (key or "none", len(data))),
        lambda: ForShard(ShardMap.uniform(4), lambda _, data: len(data) % 4),
        lambda: HotKeys(clock=lambda: 0.0),
    ],
)
def test_a_batch_is_what_single_records_are(monkeypatch, make):
    ours, theirs = [], []
    for target in (ours, theirs):
        chance = random.Random(5)
        for name in ("randrange", "getrandbits"):
            monkeypatch.setattr(random, name, getattr(chance, name))
        monkeypatch.setattr("shardpack.keys.hot.random", lambda: 0.999)
        monkeypatch.setattr("shardpack.keys.hot.randrange", lambda _: 7)
        target.append(make())
    singles = []
    for key, data in RECORDS:
        placed = ours[0](key, data)
        singles.append(placed if isinstance(placed, tuple) else (placed, None))
    batch = []
    for at in range(0, len(RECORDS), 700):
        keys, places = theirs[0].many(*map(list, zip(*RECORDS[at : at + 700], strict=True)))
        batch += zip(keys, [None] * len(keys) if places is None else places, strict=True)
    if isinstance(ours[0], Salted):  # one turn of difference: where single records begin
        assert [unsalted(key) for key, _ in batch] == [unsalted(key) for key, _ in singles]
        assert Counter(key for key, _ in batch).keys() == Counter(key for key, _ in singles).keys()
    else:
        assert batch == singles


def test_salted_keys_are_spread_evenly_though_they_come_in_turn():
    strategy = Salted(8)
    keys, _ = strategy.many([f"k{i % 4}" for i in range(32_000)], [b""] * 32_000)
    counts = Counter(keys)
    assert len(counts) == 32
    assert max(counts.values()) < 1.2 * min(counts.values())


def test_a_strategy_keeps_so_many_sub_keys_in_mind():
    strategy = Salted(256)
    for i in range(1000):
        strategy(f"key-{i}", b"")
        assert sum(map(len, strategy._sub_keys.values())) <= 65_536


@pytest.mark.parametrize("run_bytes", [1, 1000, 240 * 1024])
def test_places_of_a_spread_lie_evenly(run_bytes):
    spread = Spread(run_bytes=run_bytes)
    sizes = Counter()
    while len(sizes) < 100:
        key, place = spread("k", b"x" * 76)  # 100 with what is around it
        assert key == "k"
        sizes[place] += 100
    assert max(sizes.values()) < run_bytes + 100
    lies_in = Counter(place * 8 // HASH_KEYS for place in sizes)
    assert min(lies_in.values()) >= 11
    assert max(lies_in.values()) <= 14
    with pytest.raises(ValueError, match="run_bytes of 0 is less than 1"):
        Spread(run_bytes=0)


def test_the_balance_that_the_document_tells():
    """Bytes of the heaviest of 8 shards by their mean: flights by carrier, 6 MB a second, from the third second on."""
    datas = flights(120_000).datas
    events = list(map(json.loads, datas))
    now = 0.0
    random.seed(14)
    strategies = {
        "none": lambda key, _: key,
        "`Salted`": Salted(8),
        "`HotKeys`": HotKeys(hot_bytes_per_second=250_000, clock=lambda: now),
        "`Spread`": Spread(),
        "`Calculated`": Calculated(lambda key, data: (key, json.loads(data)["tailnum"] or "unknown")),
        "`Hashed`": Hashed(),
    }
    loads = {name: Counter() for name in strategies}
    for at in range(0, len(datas), 1000):
        keys, some = [event["carrier"] for event in events[at : at + 1000]], datas[at : at + 1000]
        for name, strategy in strategies.items():
            made, _, places = KeyDoor(strategy).many(keys, some, None)
            for key, place, data in zip(made, places or [None] * len(made), some, strict=True):
                if now >= 3:
                    loads[name][(md5(key) if place is None else place) * 8 // HASH_KEYS] += len(data)
        now += sum(map(len, some)) / 6_000_000
    measured = {name: f"{max(load.values()) / load.total() * 8:.2f}" for name, load in loads.items()}
    table = DOCUMENT.read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| (none|`\w+`) \|.*\| (\d\.\d\d) \|$", table, re.MULTILINE)) == measured


# --- at the door of a producer ---


def test_an_explicit_hash_key_that_was_put_stays():
    door = KeyDoor(lambda key, _: (key.upper(), 5))
    assert door.one("a", b"", None) == ("A", b"", 5)
    assert door.one("a", b"", 7) == ("A", b"", 7)
    assert door.many(["a", "b"], [b"", b""], None) == (["A", "B"], [b"", b""], [5, 5])
    assert door.many(["a", "b"], [b"", b""], [None, 7]) == (["A", "B"], [b"", b""], [5, 7])
    assert KeyDoor(Hashed()).many(["a", "b"], [b"", b""], [None, 7]) == (["a", "b"], [b"", b""], [None, 7])


def test_a_strategy_that_is_none():
    for given_one in (Salted, "salted", None, 4):
        with pytest.raises(TypeError, match="key_strategy is called with partition key and data"):
            KeyDoor(given_one)
    with pytest.raises(TypeError, match="a key, or a key and an explicit hash key"):
        KeyDoor(lambda *_: ("a", 1, 2)).one("a", b"", None)
    for keys, datas, explicit in ((["a"], [], None), (["a"], [b""], [1, 2])):
        with pytest.raises(ValueError, match="one for one is needed"):
            KeyDoor(Spread()).many(keys, datas, explicit)

    short = Hashed()
    short.many = lambda keys, _: (keys[1:], None)
    with pytest.raises(ValueError, match="gave 1 keys for 2 records"):
        KeyDoor(short).many(["a", "b"], [b"", b""], None)


# --- in a stream ---


@pytest.fixture
def stream(local_kinesis):
    name = f"strategies-{uuid.uuid4()}"
    local_kinesis.create_stream(name, 4)
    return name


def by_shard(client, stream):
    """The user records of each shard, by its number."""
    found = defaultdict(list)
    for shard in client.list_shards(StreamName=stream)["Shards"]:
        shard_id = shard["ShardId"]
        where = client.get_shard_iterator(StreamName=stream, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON")
        bounds = [int(shard["HashKeyRange"][name]) for name in ("StartingHashKey", "EndingHashKey")]
        user_records = deaggregate(client.get_records(ShardIterator=where["ShardIterator"]), hash_range=tuple(bounds))
        assert user_records.left_out == 0
        found[int(shard_id[-3:])] += user_records
    return found


def put_all(client, stream, strategy, records, **options):
    with Producer(stream, client=client, key_strategy=strategy, **options) as producer:
        for record in records[::2]:
            producer.put(*record)
        producer.put_many(*map(list, zip(*records[1::2], strict=True)))


def test_one_key_is_in_all_shards_and_is_undone(client, stream):
    records = [("UA", b"%02d:%d" % (i % 50, i)) for i in range(400)]
    put_all(client, stream, Salted(4, by=lambda _, data: data[:2]), records)
    shards = by_shard(client, stream)
    assert {unsalted(record.partition_key) for found in shards.values() for record in found} == {"UA"}
    assert sorted(record.data for found in shards.values() for record in found) == sorted(data for _, data in records)
    assert sorted(shards) == [0, 1, 2, 3]
    for i, found in shards.items():
        assert {md5(record.data[:2]) * 4 // HASH_KEYS for record in found} == {i}


def test_records_land_in_the_shard_that_was_chosen(client, stream):
    strategy = ForShard(ShardMap.uniform(4), lambda _, data: data[0] % 4)
    put_all(client, stream, strategy, [(f"device-{i}", bytes([i])) for i in range(200)])
    shards = by_shard(client, stream)
    for i, found in shards.items():
        assert sorted(record.data[0] for record in found) == list(range(i, 200, 4))
        assert {record.partition_key for record in found} == {f"device-{record.data[0]}" for record in found}


def test_records_without_order_go_everywhere_with_their_keys(client, stream):
    put_all(client, stream, Spread(run_bytes=2000), [("UA", b"x" * 76)] * 800)
    counts = {i: len(found) for i, found in by_shard(client, stream).items()}
    assert sum(counts.values()) == 800
    assert min(counts.values()) > 120
    assert {record.partition_key for found in by_shard(client, stream).values() for record in found} == {"UA"}


def test_in_an_event_loop(client, stream):
    async def put() -> None:
        async with AsyncProducer(stream, client=client, key_strategy=lambda key, _: f"{key}!") as producer:
            await producer.put("a", b"1")
            await producer.put_many(["b", "c"], [b"2", b"3"])

    asyncio.run(put())
    found = [record for each in by_shard(client, stream).values() for record in each]
    assert sorted((record.partition_key, record.data) for record in found) == [("a!", b"1"), ("b!", b"2"), ("c!", b"3")]


def test_what_a_strategy_raises_is_told_and_nothing_is_taken(client, stream):
    with Producer(stream, client=client, key_strategy=Salted(4)) as producer:
        for put in (lambda: producer.put("x" * 249, b""), lambda: producer.put_many(["a", "x" * 249], [b"", b""])):
            with pytest.raises(InvalidPartitionKeyError, match="no room for a salt"):
                put()
        assert producer.stats().user_records_put == 0


def test_a_dead_letter_has_the_key_that_was_sent(client, tmp_path):
    with SQLiteDeadLetters(tmp_path / "dead.db") as letters:
        with Producer(
            "absent", client=client, key_strategy=lambda key, _: f"{key}!", dead_letters=letters, close_timeout_s=5
        ) as producer:
            producer.put("a", b"1")
        assert [letter.partition_key for _, letter in letters] == ["a!"]  # which redrive sends as it is
