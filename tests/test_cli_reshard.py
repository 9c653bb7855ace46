"""shardpack reshard: what it says, what it does, and that it goes on after kill -9."""

from __future__ import annotations

import json
import random
import subprocess
import uuid

import pytest
from conftest import SHARDPACK

from shardpack import Boto3Transport, hash_key
from shardpack.plan import Load, most_to_mean

WEIGHTS = {f"key-{i}": 1 / (i + 1) ** 0.9 for i in range(600)}


@pytest.fixture
def stream(local_kinesis):
    local_kinesis.create_stream(name := f"reshard-{uuid.uuid4()}", 8)
    return name


@pytest.fixture
def sample(tmp_path):
    """Events whose keys are skewed, in the order of a real stream: none."""
    rng = random.Random(1)
    keys = rng.choices([*WEIGHTS], [*WEIGHTS.values()], k=8000)
    file = tmp_path / "events.ndjson"
    file.write_text("".join(f'{{"id":"{key}"}}\n' for key in keys))
    return file


def shards_of(client, stream):
    return Boto3Transport(client, stream).list_shards()


def borders_of(client, stream):
    return [str(shard.starting_hash_key) for shard in shards_of(client, stream)][1:]


def test_says_what_it_would_do_and_does_nothing(shardpack, client, stream):
    before = shards_of(client, stream)
    done = shardpack("reshard", stream, "--to", 20)
    assert (done.returncode, done.stderr) == (0, "")
    now, then, first, second, price, last = done.stdout.splitlines()
    assert now.startswith("now ")
    assert now.endswith("  8 shards")
    assert then.endswith("  20 shards")
    assert (now.count("│"), then.count("│")) == (7, 19)
    assert (first, second) == ("   1  UpdateShardCount to 16", "   2  UpdateShardCount to 20")
    assert price.startswith("2 of the 10 UpdateShardCount that a stream takes in 24 hours")
    assert last == "Nothing was changed; --apply does it."
    assert shards_of(client, stream) == before


def test_balances_by_what_came_into_the_stream(shardpack, client, stream):
    entries = [
        {"Data": b"x" * 100, "PartitionKey": key}
        for key in random.Random(2).choices([*WEIGHTS], [*WEIGHTS.values()], k=5000)
    ]
    for begin in range(0, len(entries), 500):
        assert client.put_records(StreamName=stream, Records=entries[begin : begin + 500])["FailedRecordCount"] == 0
    done = shardpack("reshard", stream, "--balance", "--apply", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["measured_user_records"] == 5000
    assert (found["shards_before"], found["shards_after"]) == (8, 8)
    assert found["ratio_before"] > 1.3
    assert found["ratio_after"] <= 1.15
    assert found["done"] == found["steps"]
    assert borders_of(client, stream) == found["borders"]
    by_shard = Load.of_keys(WEIGHTS).by_shard(shards_of(client, stream))
    assert most_to_mean(by_shard) <= 1.3


def test_shows_loads_and_names_keys_that_no_split_helps(shardpack, client, stream, tmp_path):
    file = tmp_path / "events"
    file.write_text('{"id":"big"}\n' * 120 + "".join(f'{{"id":"key-{i}"}}\n' for i in range(100)))
    before = shards_of(client, stream)
    done = shardpack("reshard", stream, "--balance", "--sample", file, "--key", "id")
    assert done.returncode == 0
    assert "key 'big' alone has 4" in done.stdout
    assert "only other keys do" in done.stdout
    assert " times the mean" in done.stdout.splitlines()[1]
    assert shards_of(client, stream) == before
    (heavy,) = json.loads(shardpack("reshard", stream, "--balance", "--sample", file, "--key", "id", "--json").stdout)[
        "too_heavy"
    ]
    assert (heavy["partition_key"], heavy["hash_key"]) == ("big", str(hash_key("big")))
    assert 0.4 < heavy["share"] < 0.5


def test_nothing_came(shardpack, stream):
    done = shardpack("reshard", stream, "--balance")
    assert done.returncode == 1
    assert done.stderr == (
        f"shardpack: no load to balance in {stream}, where nothing came in the last 60 s; give --seconds or --sample\n"
    )


def test_an_on_demand_stream(shardpack, client):
    client.create_stream(
        StreamName=(name := f"on-demand-{uuid.uuid4()}"), StreamModeDetails={"StreamMode": "ON_DEMAND"}
    )
    for what in (("--to", 8), ("--balance",)):
        done = shardpack("reshard", name, *what, "--apply")
        assert done.returncode == 1
        assert "is on-demand: the service splits and merges its shards itself" in done.stderr


class Killed:
    """Runs the command and kills it with SIGKILL: when it says that it begins the n-th call, or a moment later."""

    def __init__(self, shardpack):
        self.shardpack = shardpack

    def __call__(self, call, seconds, *arguments):
        command = [*SHARDPACK, *map(str, arguments), "--endpoint-url", self.shardpack.endpoint_url]
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=self.shardpack.environment
        ) as process:
            for line in process.stderr:
                if int(line.split()[0]) == call:
                    break
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
            return process.wait() == -9


@pytest.mark.parametrize("seconds", [0, 0.02, 0.3])
def test_balance_goes_on_after_kill_where_its_plan_says(shardpack, client, stream, sample, seconds):
    plan = sample.with_name("plan.json")
    what = ("reshard", stream, "--balance", "--sample", sample, "--key", "id", "--plan", plan, "--apply")
    expected = json.loads(shardpack(*what[:-1], "--json").stdout)
    assert len(expected["steps"]) >= 4
    kill = Killed(shardpack)
    for call in (1, 2, 1, 2):
        ended = not kill(call, seconds, *what)
        shards_of(client, stream)  # which raises where a hash key has no shard
        if ended or not plan.exists():  # it was through, and is no more needed
            break
    done = shardpack(*what)
    assert done.returncode == 0
    assert borders_of(client, stream) == expected["borders"]
    assert not plan.exists()  # the next one measures anew


@pytest.mark.parametrize("seconds", [0, 0.3])
def test_to_goes_on_after_kill(shardpack, client, stream, seconds):
    kill = Killed(shardpack)
    for call in (2, 3):
        kill(call, seconds, "reshard", stream, "--to", 7, "--apply")
        shards_of(client, stream)
    done = shardpack("reshard", stream, "--to", 7, "--apply", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["shards_after"] == len(shards_of(client, stream)) == 7
    again = json.loads(shardpack("reshard", stream, "--to", 7, "--apply", "--json").stdout)
    assert again["steps"] == again["done"] == []


def test_without_a_plan_it_measures_anew_and_keeps_to_the_number_of_shards(shardpack, client, stream, sample):
    what = ("reshard", stream, "--balance", "--sample", sample, "--key", "id", "--max-shards", 8, "--apply")
    Killed(shardpack)(2, 0.05, *what)
    assert shardpack(*what).returncode == 0
    assert len(shards_of(client, stream)) == 8
    assert most_to_mean(Load.of_keys(WEIGHTS).by_shard(shards_of(client, stream))) <= 1.3


def test_the_plan_of_another_stream_is_refused(shardpack, local_kinesis, stream, sample, tmp_path):
    what = ("--balance", "--sample", sample, "--key", "id", "--plan", tmp_path / "plan")
    assert shardpack("reshard", stream, *what).returncode == 0
    local_kinesis.create_stream(other := f"reshard-{uuid.uuid4()}", 2)
    done = shardpack("reshard", other, *what, "--apply")
    assert done.returncode == 2
    assert "is the plan of another stream" in done.stderr


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"borders":["1"]}', '{"shardpack_reshard":1,"borders":[true,"x"],"stream":[]}', "[" * 99_999],
)
def test_what_is_no_plan_is_refused(shardpack, stream, tmp_path, text):
    (tmp_path / "plan").write_text(text)
    done = shardpack("reshard", stream, "--balance", "--plan", tmp_path / "plan")
    assert done.returncode == 2
    assert done.stderr == f"shardpack: {tmp_path / 'plan'}: no plan of shardpack reshard\n"


def test_many_steps_are_abridged(shardpack, client, stream):
    for count in (16, 32, 60):  # by uneven halves, as this Kinesis does it
        client.update_shard_count(StreamName=stream, TargetShardCount=count, ScalingType="UNIFORM_SCALING")
    done = shardpack("reshard", stream, "--to", 60)
    assert len(done.stdout.splitlines()) == 2 + 41 + 2
    assert " more\n" in done.stdout


def test_a_picture_of_more_shards_than_columns(shardpack, local_kinesis):
    local_kinesis.create_stream(name := f"reshard-{uuid.uuid4()}", 100)
    done = shardpack("reshard", name, "--to", 150)
    assert "100 shards" in done.stdout.splitlines()[0]
    assert "│" not in done.stdout
