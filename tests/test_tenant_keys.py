"""Tenants' partition keys, slices of the hash range, and reading back: exact, whatever is written."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from shardpack.errors import InvalidHashKeyError, InvalidPartitionKeyError, InvalidTenantError
from shardpack.shards import HASH_KEYS, ShardMap
from shardpack.tenants.keys import MAX_TENANT_CHARACTERS, split_tenant, tenant_key, tenant_prefix
from shardpack.tenants.slices import HashSlice, tenant_shards

TENANTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)


@given(TENANTS, st.text(max_size=100))
@example("a/b", "c/d")
@example("%2F", "%25")
@example("@x/", "@y/z")
def test_a_key_is_its_tenants_and_no_others(tenant, key):
    assert split_tenant(tenant_key(tenant, key)) == (tenant, key)


@given(TENANTS, TENANTS, st.text(max_size=20), st.text(max_size=20))
def test_no_two_tenants_share_a_key(one, other, key, other_key):
    assume(one != other)
    assert tenant_key(one, key) != tenant_key(other, other_key)


@given(st.text("@/%25Fa\n", max_size=12) | st.text(max_size=300))
def test_a_key_is_a_tenants_only_if_it_is_written_exactly_so(partition_key):
    found = split_tenant(partition_key)
    if found is not None:
        assert tenant_key(*found) == partition_key


@pytest.mark.parametrize(
    "partition_key",
    [
        None,
        "",
        "-",
        "acme/device",
        "@acme",
        "@/device",
        "@ac%me/device",
        "@ac%2me/device",
        "@%61cme/device",
        "@ac%2fme/device",
        "@acme\n/device",
        "@acme\udc80/device",
        "@" + "a" * (MAX_TENANT_CHARACTERS + 1) + "/device",
        "@" + "%25" * MAX_TENANT_CHARACTERS + "/device",
        "@acme/" + "k" * 251,
        " @acme/device",
    ],
)
def test_what_is_written_otherwise_is_no_tenants(partition_key):
    assert split_tenant(partition_key) is None


@pytest.mark.parametrize("tenant", ["", "a" * 129, "%" * 43, "a\nb", "a\x7f", "\x85", "\ud800"])
def test_tenants_that_are_none_are_refused(tenant):
    with pytest.raises(InvalidTenantError):
        tenant_prefix(tenant)


@pytest.mark.parametrize("tenant", [b"acme", None, 7])
def test_tenants_are_text(tenant):
    with pytest.raises(TypeError, match="a tenant's id is text"):
        tenant_prefix(tenant)


def test_the_limits_of_a_key_are_driven():
    assert len(tenant_prefix("a" * 128)) == 130
    assert len(tenant_key("a" * 128, "k" * 126)) == 256
    assert split_tenant("@" + "é" * 128 + "/" + "é" * 126) == ("é" * 128, "é" * 126)
    with pytest.raises(InvalidPartitionKeyError, match="127 characters has 257 with its tenant's prefix"):
        tenant_key("a" * 128, "k" * 127)


# --- slices ---

SLICES = st.tuples(st.integers(0, HASH_KEYS - 1), st.integers(0, HASH_KEYS - 1)).map(
    lambda ends: HashSlice(min(ends), max(ends))
)


@given(SLICES, st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=50))
def test_a_key_has_a_place_in_its_slice(hash_slice, key):
    md5 = int.from_bytes(hashlib.md5(key.encode()).digest(), "big")
    width = hash_slice.last - hash_slice.first + 1
    assert hash_slice.place(key) == hash_slice.first + (md5 * width >> 128)
    assert hash_slice.place(key) in hash_slice


def test_the_ends_of_a_slice_are_reached_and_not_passed():
    hash_slice = HashSlice(5, 7)
    places = {hash_slice.place(f"{i}") for i in range(200)}
    assert places == {5, 6, 7}
    assert HashSlice().place("a") == int.from_bytes(hashlib.md5(b"a").digest(), "big")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 1000])
def test_even_slices_are_the_ranges_of_as_many_even_shards(count):
    shards = ShardMap.uniform(count)
    slices = [HashSlice.of(i, count) for i in range(count)]
    assert [(s.first, s.last) for s in slices] == [(s.starting_hash_key, s.ending_hash_key) for s in shards]
    assert [tenant_shards(shards, s) for s in slices] == [[shard] for shard in shards]


@given(SLICES, st.integers(1, 50))
def test_the_shards_of_a_slice_have_all_of_it(hash_slice, count):
    shards = ShardMap.uniform(count)
    its = tenant_shards(shards, hash_slice)
    first, last = shards.index_of(hash_slice.first), shards.index_of(hash_slice.last)
    assert its == list(shards)[first : last + 1]


@pytest.mark.parametrize("ends", [(1, 0), (-1, 5), (0, HASH_KEYS), (HASH_KEYS, HASH_KEYS)])
def test_slices_that_are_none_are_refused(ends):
    with pytest.raises(ValueError, match="is no slice"):
        HashSlice(*ends)


@pytest.mark.parametrize(("index", "count"), [(1, 1), (-1, 2), (0, 0), (0, 2**31)])
def test_even_slices_that_are_none_are_refused(index, count):
    with pytest.raises(ValueError, match="there is no slice"):
        HashSlice.of(index, count)


def test_a_hash_key_outside_its_slice_is_refused():
    HashSlice(5, 7).demand("6")
    with pytest.raises(InvalidHashKeyError, match="explicit hash key 8 is not in its tenant's slice, 5 to 7"):
        HashSlice(5, 7).demand(8)
    with pytest.raises(InvalidHashKeyError):
        HashSlice(5, 7).demand("six")
