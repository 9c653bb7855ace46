"""One tenant's records of all that a stream has, as it put them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, cast

from .._native.deaggregate import UserRecord
from ..errors import ForeignRecordError, abridged
from .keys import split_tenant, tenant_prefix

_Reduced: TypeAlias = tuple[Callable[..., UserRecord], tuple[Any, ...]]

AGGREGATED = b"\xf3\x89\x9a\xc2"
"""What no user record that came by itself begins with, as it is wrapped then: what does is several that do not read."""


class TenantRecords(list[UserRecord]):
    """A list of the user records of a tenant. ``refused`` counts those that are not."""

    refused: int = 0


def for_tenant(records: Iterable[UserRecord], tenant: str, *, strict: bool = False) -> TenantRecords:
    """Return the user records of a tenant, with the partition keys that they were put with (``None`` without one).

    ``records`` are those that ``deaggregate`` and its like return. All others are refused, and counted: those of other
    tenants, those whose partition key is not exactly as a tenant's is written, and aggregated records that came back
    whole because they do not read: what is in there may be anybody's. With ``strict`` one of these raises
    ``ForeignRecordError``. Each record is as ``UserRecord.detach`` makes it, without its ``source``.

    It tells records apart; it does not protect them: whoever may read the stream can read all, and whoever may write to
    it can write for any tenant. Raises ``InvalidTenantError`` for what is no tenant.
    """
    tenant_prefix(tenant)
    found = TenantRecords()
    for record in records:
        named = split_tenant(record.partition_key)
        if named is None or named[0] != tenant or _may_be_several(record):
            found.refused += 1
            if strict:
                raise ForeignRecordError(
                    f"record {record.sequence_number} (key {abridged(record.partition_key, 40)}) is not one of tenant "
                    f"{abridged(tenant, 40)}"
                )
            continue
        make, (*values, origin) = cast("_Reduced", record.__reduce__())  # as pickling takes it apart
        found.append(make(*values, (named[1] or None, *origin[1:])))
    return found


def _may_be_several(record: UserRecord) -> bool:
    return record.error is not None or (not record.aggregated and record.data.startswith(AGGREGATED))
