from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest

from shardpack import Aggregator, Boto3Transport, KinesisRecord, ShardMap, deaggregate
from shardpack.limits import Limits
from shardpack.producer import send as send_module
from shardpack.producer.send import DeliveryError, OrderedSender
from shardpack.testing.local_kinesis import wait_until_active
from shardpack.transport import Failed, Stored, StreamDescription

THROTTLED = Failed("ProvisionedThroughputExceededException", "slow down")
INTERNAL = Failed("InternalFailure", "try again")
DENIED = Failed("AccessDeniedException", "not yours")
STREAM_NUMBERS = itertools.count(1)

Event = tuple[str, bytes]


def make_events(keys: int, each: int, size: int = 20) -> list[Event]:
    return [(f"key-{k}", f"{k}:{i}:".encode().ljust(size, b".")) for i in range(each) for k in range(keys)]


def aggregate(shard_map: ShardMap, events: Sequence[Event], **options: int) -> list[KinesisRecord]:
    aggregator = Aggregator(shard_map, **options)
    aggregator.add_many([key for key, _ in events], [data for _, data in events])
    return aggregator.flush()


def by_key(events: Sequence[Event]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for key, data in events:
        found.setdefault(key, []).append(data)
    return found


# --- against a real service ---


def read_shards(client, stream_name: str) -> Iterator[tuple[dict, list[dict]]]:
    """Every shard with all its records; shards in the order they were made, so parents before children."""
    for shard in client.list_shards(StreamName=stream_name)["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName=stream_name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        records: list[dict] = []
        while iterator:
            response = client.get_records(ShardIterator=iterator)
            records += response["Records"]
            if not response["Records"] and not response["MillisBehindLatest"]:
                break
            iterator = response.get("NextShardIterator")
        yield shard, records


def as_the_kcl_reads(client, stream_name: str) -> tuple[list[Event], int]:
    """What consumers get that apply their shard's hash range, and how many user records that left out."""
    events: list[Event] = []
    left_out = 0
    for shard, records in read_shards(client, stream_name):
        hash_range = shard["HashKeyRange"]
        found = deaggregate(records, hash_range=(int(hash_range["StartingHashKey"]), int(hash_range["EndingHashKey"])))
        left_out += found.left_out
        events += [(record.partition_key or "", record.data) for record in found]
    return events, left_out


def everything(client, stream_name: str) -> list[Event]:
    return [
        (record.partition_key or "", record.data)
        for _, records in read_shards(client, stream_name)
        for record in deaggregate(records)
    ]


@pytest.fixture
def client(local_kinesis):
    return local_kinesis.client()


@pytest.fixture
def stream(local_kinesis) -> str:
    name = f"send-{next(STREAM_NUMBERS)}"
    local_kinesis.create_stream(name, 4)
    return name


def split(client, stream_name: str, shard_map: ShardMap, index: int) -> None:
    shard = shard_map[index]
    middle = (shard.starting_hash_key + shard.ending_hash_key) // 2
    client.split_shard(StreamName=stream_name, ShardToSplit=shard.shard_id, NewStartingHashKey=str(middle))
    wait_until_active(client, stream_name)


def merge(client, stream_name: str, shard_map: ShardMap, index: int) -> None:
    client.merge_shards(
        StreamName=stream_name,
        ShardToMerge=shard_map[index].shard_id,
        AdjacentShardToMerge=shard_map[index + 1].shard_id,
    )
    wait_until_active(client, stream_name)


@pytest.mark.parametrize("max_bytes", [400, 3000, 2**20])
def test_everything_arrives_once_in_the_order_of_its_keys(client, stream, max_bytes):
    sender = OrderedSender(Boto3Transport(client, stream))
    events = make_events(40, 30)
    records = aggregate(sender.shard_map, events, max_bytes=max_bytes)
    stored: list[KinesisRecord] = []
    sender.send(records, sender.shard_map, stored.append)
    found, left_out = as_the_kcl_reads(client, stream)
    assert left_out == 0
    assert by_key(found) == by_key(events)
    assert Counter(map(id, stored)) == Counter(map(id, records))
    report = sender.report
    assert (report.user_records, report.kinesis_records) == (len(events), len(records))
    assert report.size == sum(record.size for record in records) == sum(report.size_by_shard.values())
    assert report.resent_entries == 0
    assert set(report.size_by_shard) <= {shard.shard_id for shard in sender.shard_map}


@pytest.mark.parametrize(
    "reshard",
    [
        pytest.param([(split, 0)], id="split"),
        pytest.param([(merge, 1)], id="merge"),
        pytest.param([(split, 3), (merge, 0)], id="both"),
    ],
)
@pytest.mark.parametrize("max_bytes", [500, 2**20])
def test_resharding_between_aggregation_and_sending_loses_nothing(client, stream, reshard, max_bytes):
    sender = OrderedSender(Boto3Transport(client, stream))
    old_map = sender.shard_map
    events = make_events(40, 40)
    half = len(events) // 2
    sender.send(aggregate(old_map, events[:half], max_bytes=max_bytes), old_map)
    late = aggregate(old_map, events[half:], max_bytes=max_bytes)
    for change, index in reshard:
        change(client, stream, old_map, index)
    sender.send(late, old_map)
    assert sender.shard_map != old_map
    assert sender.shard_map == Boto3Transport(client, stream).list_shards()

    found, left_out = as_the_kcl_reads(client, stream)
    assert by_key(found) == by_key(events)
    assert sender.report.user_records == len(events)

    # twice in the stream: only what was in aggregates that a split tore in two
    torn = {index for change, index in reshard if change is split}
    copies = Counter(everything(client, stream))
    twice = {event for event, count in copies.items() if count > 1}
    assert max(copies.values()) <= 2
    assert left_out == len(twice)
    assert bool(twice) == bool(torn)
    in_torn = {
        (user_record.partition_key, user_record.data)
        for record in late
        if record.shard_index in torn
        for user_record in deaggregate(record.data)
    }
    assert twice <= in_torn


def test_records_of_an_older_map_are_aggregated_anew(client, stream):
    sender = OrderedSender(Boto3Transport(client, stream))
    old_map = sender.shard_map
    events = make_events(30, 10)
    first, second = aggregate(old_map, events[:150]), aggregate(old_map, events[150:])
    split(client, stream, old_map, 2)
    sender.send(first, old_map)
    known = sender.shard_map
    assert known is not old_map
    before = sender.report.resent_entries
    sender.send(second, old_map)  # the sender knows better by now: nothing of it lands wrong
    assert sender.report.resent_entries == before
    assert by_key(as_the_kcl_reads(client, stream)[0]) == by_key(events)


def test_explicit_hash_keys_and_lone_records_survive_resharding(client, stream):
    sender = OrderedSender(Boto3Transport(client, stream))
    old_map = sender.shard_map
    aggregator = Aggregator(old_map, max_records=2)
    magic = b"\xf3\x89\x9a\xc2 not an aggregate"
    sent = []
    for i in range(9):
        hash_key = i * (2**126 // 10)  # all in the first shard, which is split
        for data in (f"{i}".encode(), magic + b"%d" % i):
            aggregator.add(f"key-{i}", data, hash_key)
            sent.append((f"key-{i}", data))
    aggregator.add("alone", magic, 5)
    sent.append(("alone", magic))
    records = aggregator.flush()
    split(client, stream, old_map, 0)
    sender.send(records, old_map)
    found, _ = as_the_kcl_reads(client, stream)
    assert by_key(found) == by_key(sent)
    for shard, kinesis_records in read_shards(client, stream):
        for record in deaggregate(kinesis_records):
            if (
                record.aggregated
                and record.explicit_hash_key
                and "EndingSequenceNumber" not in shard["SequenceNumberRange"]
            ):
                assert int(record.explicit_hash_key) < 2**126


# --- against a transport that fails as told ---


class ScriptedTransport:
    """Stores entries unless told to fail a shard's next ones. Keeps the requests, and what is stored, in order."""

    def __init__(self, shard_map: ShardMap, failures: dict[int, list[Failed]] | None = None) -> None:
        self.shard_map = shard_map
        self.failures = failures or {}
        self.requests: list[list[KinesisRecord]] = []
        self.stored: dict[int, list[KinesisRecord]] = {}
        self.before_request: Callable[[], None] = lambda: None

    def put_records(self, entries: Sequence[KinesisRecord]) -> list[Stored | Failed]:
        self.before_request()
        self.requests.append(list(entries))
        return [self._outcome(entry) for entry in entries]

    def _outcome(self, entry: KinesisRecord) -> Stored | Failed:
        if self.failures.get(entry.shard_index):
            return self.failures[entry.shard_index].pop(0)
        stored = self.stored.setdefault(entry.shard_index, [])
        stored.append(entry)
        return Stored(self.shard_map[entry.shard_index].shard_id, str(len(stored)))

    def list_shards(self) -> ShardMap:
        return self.shard_map

    def describe(self) -> StreamDescription:
        return StreamDescription("s", "arn", "ACTIVE", len(self.shard_map), Limits(), auto_distribution=False)


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(send_module, "time", clock)
    return clock


def shard_order(records: Sequence[KinesisRecord]) -> dict[int, list[KinesisRecord]]:
    lanes: dict[int, list[KinesisRecord]] = {}
    for record in records:
        lanes.setdefault(record.shard_index, []).append(record)
    return lanes


def scripted(shards: int, failures: dict[int, list[Failed]] | None = None, **options):
    transport = ScriptedTransport(ShardMap.uniform(shards), failures)
    sender = OrderedSender(transport, **options)
    records = aggregate(sender.shard_map, make_events(40, 20), max_bytes=600)
    assert {record.shard_index for record in records} == set(range(shards))
    return transport, sender, records


@pytest.mark.parametrize("failure", [THROTTLED, INTERNAL], ids=["throttled", "internal"])
@pytest.mark.parametrize("times", [1, 2, 7])
@pytest.mark.usefixtures("clock")
def test_failed_entries_go_again_before_anything_behind_them(failure, times):
    transport, sender, records = scripted(4, {1: [failure] * times, 3: [failure]})
    stored: list[KinesisRecord] = []
    sender.send(records, sender.shard_map, stored.append)
    assert transport.stored == shard_order(records)
    assert shard_order(stored) == shard_order(records)
    assert sender.report.resent_entries == times + 1
    assert sender.report.kinesis_records == len(records)
    assert sender.report.user_records == 800
    assert sender.report.requests == len(transport.requests)


@pytest.mark.usefixtures("clock")
def test_one_entry_of_a_shard_is_in_flight():
    transport, sender, records = scripted(4, {0: [THROTTLED] * 3})
    sender.send(records, sender.shard_map)
    for request in transport.requests:
        assert len({record.shard_index for record in request}) == len(request)


def test_a_throttled_shard_does_not_slow_the_others(clock):
    transport, sender, records = scripted(4, {2: [THROTTLED] * 6})
    others = len([record for record in records if record.shard_index != 2])
    done_at: list[float] = []
    sender.send(
        records, sender.shard_map, lambda record: done_at.append(clock.now) if record.shard_index != 2 else None
    )
    assert len(done_at) == others
    assert all(at < clock.now for at in done_at[:-1])
    longest_lane = max(len(lane) for shard, lane in shard_order(records).items() if shard != 2)
    last_of_others = max(
        i for i, request in enumerate(transport.requests) if any(record.shard_index != 2 for record in request)
    )
    assert last_of_others < longest_lane  # a request each round, none of them waited


def test_backoff_doubles_from_a_tenth_to_five_seconds(clock, monkeypatch):
    bounds: list[float] = []

    def longest(low: float, high: float) -> float:
        assert low == 0
        bounds.append(high)
        return high

    monkeypatch.setattr(send_module.random, "uniform", longest)
    _, sender, _ = scripted(1, {0: [THROTTLED] * 9}, give_up_after_s=1000)
    sender.send(aggregate(sender.shard_map, [("a", b"x")]), sender.shard_map)
    assert bounds == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert clock.slept == pytest.approx(bounds)


@pytest.mark.usefixtures("clock")
def test_success_resets_the_backoff(monkeypatch):
    bounds: list[float] = []
    monkeypatch.setattr(send_module.random, "uniform", lambda _, high: bounds.append(high) or high)
    transport, sender, _ = scripted(1)
    records = aggregate(sender.shard_map, make_events(1, 2), max_records=1)
    transport.failures[0] = [THROTTLED] * 3
    sender.send(records[:1], sender.shard_map)
    transport.failures[0] = [THROTTLED]
    sender.send(records[1:], sender.shard_map)
    assert bounds == [0.1, 0.2, 0.4, 0.1]


def test_giving_up_is_bounded_in_time(clock):
    _, sender, records = scripted(2, {0: [THROTTLED] * 10_000}, give_up_after_s=30)
    began = clock.now
    with pytest.raises(DeliveryError, match="ProvisionedThroughputExceededException for more than 30 s"):
        sender.send(records, sender.shard_map)
    assert 30 < clock.now - began <= 30 + send_module.LONGEST_BACKOFF_SECONDS
    stored = [record for record in records if record.shard_index == 1]
    assert sender.report.kinesis_records == len(stored)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("shard", [0, 1, 2])
def test_fatal_code_raises_at_once_and_the_report_counts_what_is_stored(shard):
    transport, sender, records = scripted(3, {shard: [DENIED]})
    with pytest.raises(DeliveryError, match=r"key 'key-\d+'.*AccessDeniedException: not yours"):
        sender.send(records, sender.shard_map)
    assert len(transport.requests) == 1
    assert sender.report.resent_entries == 0
    stored = [record for lane in transport.stored.values() for record in lane]
    assert len(stored) == 2
    assert sender.report.kinesis_records == len(stored)
    assert sender.report.user_records == sum(record.user_record_count for record in stored)


class Broken(Exception):  # noqa: N818
    pass


@pytest.mark.usefixtures("clock")
def test_errors_of_the_transport_pass_through():
    transport, sender, records = scripted(2)

    def fail_the_third() -> None:
        if len(transport.requests) == 2:
            raise Broken

    transport.before_request = fail_the_third
    with pytest.raises(Broken):
        sender.send(records, sender.shard_map)
    assert sender.report.requests == 2
    assert sender.report.kinesis_records == 4


@pytest.mark.usefixtures("clock")
def test_nothing_to_send_sends_nothing():
    transport, sender, _ = scripted(2)
    sender.send([], sender.shard_map)
    assert transport.requests == []


@pytest.mark.usefixtures("clock")
def test_throttled_while_resharded_keeps_order():
    """Shard 0 is throttled when shard 1 turns out to be split; what waits goes to the shards as they are."""
    old_map = ShardMap.uniform(2)
    new_map = ShardMap.uniform(4)

    class Split(ScriptedTransport):
        def __init__(self) -> None:
            super().__init__(old_map)
            self.landed: list[tuple[int, KinesisRecord]] = []

        def put_records(self, entries: Sequence[KinesisRecord]) -> list[Stored | Failed]:
            self.requests.append(list(entries))
            outcomes: list[Stored | Failed] = []
            for entry in entries:
                if len(self.requests) == 1 and entry.shard_index == 0:
                    outcomes.append(THROTTLED)
                    continue
                hash_key = new_map.index_of(int(entry.explicit_hash_key or "0"))
                self.landed.append((hash_key, entry))
                outcomes.append(Stored(f"new-{hash_key}", "1"))
            return outcomes

    transport = Split()
    sender = OrderedSender(transport)
    events = make_events(40, 20)
    records = aggregate(old_map, events, max_bytes=600)
    renamed = ShardMap(
        type(shard)(f"new-{i}", shard.starting_hash_key, shard.ending_hash_key) for i, shard in enumerate(new_map)
    )
    transport.shard_map = renamed
    sender.send(records, old_map)
    kept: list[Event] = []
    for index, entry in transport.landed:
        shard = renamed[index]
        found = deaggregate(entry.data, hash_range=(shard.starting_hash_key, shard.ending_hash_key))
        kept += [(record.partition_key or entry.partition_key, record.data) for record in found]
    assert by_key(kept) == by_key(events)
    assert sender.shard_map is renamed


class Elsewhere(ScriptedTransport):
    """Stores everything in a shard that ListShards does not know (yet)."""

    listed = 0

    def _outcome(self, entry: KinesisRecord) -> Stored | Failed:
        super()._outcome(entry)
        return Stored("shardId-of-tomorrow", "1")

    def list_shards(self) -> ShardMap:
        self.listed += 1
        return self.shard_map


def test_a_shard_map_that_lags_behind_is_asked_again_with_pauses_and_not_for_ever(clock):
    transport = Elsewhere(ShardMap.uniform(2))
    sender = OrderedSender(transport, give_up_after_s=30)
    began = clock.now
    with pytest.raises(DeliveryError, match="in other shards than ListShards says, shardId-of-tomorrow for one"):
        sender.send(aggregate(sender.shard_map, make_events(40, 5)), sender.shard_map)
    assert 30 < clock.now - began <= 30 + send_module.LONGEST_BACKOFF_SECONDS
    assert 6 <= len(clock.slept) < 200


@pytest.mark.usefixtures("clock")
def test_raw_records_are_right_in_any_shard():
    """Nobody takes them apart, so nobody drops them: streams that spread records themselves work."""
    transport = Elsewhere(ShardMap.uniform(2))
    sender = OrderedSender(transport)
    records = aggregate(sender.shard_map, make_events(10, 3), max_records=1)
    sender.send(records, sender.shard_map)
    assert sum(map(len, transport.stored.values())) == 30
    assert sender.report.user_records == 30
    assert sender.report.resent_entries == 0
    assert transport.listed == 1


@pytest.mark.usefixtures("clock")
def test_what_landed_elsewhere_beside_a_fatal_entry_is_still_counted():
    old_map, new_map = ShardMap.uniform(2), ShardMap.uniform(1)

    class Merged(ScriptedTransport):
        def _outcome(self, entry: KinesisRecord) -> Stored | Failed:
            return DENIED if entry.shard_index == 0 else Stored("shardId-000000000000", "1")

    transport = Merged(old_map)
    sender = OrderedSender(transport)
    records = aggregate(old_map, make_events(40, 5))
    transport.shard_map = new_map
    with pytest.raises(DeliveryError, match="AccessDeniedException"):
        sender.send(records, old_map)
    assert sender.report.user_records == sum(record.user_record_count for record in records if record.shard_index == 1)
