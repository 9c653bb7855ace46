"""A tenant's partition keys: ``@``, the tenant's id, ``/`` and the key, so that readers of any language can tell them.

In the id ``%`` is written ``%25`` and ``/`` is written ``%2F``; nothing else is escaped. So the first ``/`` ends it,
and a key has exactly one tenant or none: what is written otherwise is no tenant's.
"""

from __future__ import annotations

import re

from ..errors import InvalidPartitionKeyError, InvalidTenantError, abridged

MAX_TENANT_CHARACTERS = 128
"""Of a tenant's id, escapes counted as three. It leaves 126 of the 256 characters of a partition key."""

MAX_KEY_CHARACTERS = 256

_REFUSED = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_KEY = re.compile(f"@((?:[^%/]|%25|%2F){{1,{MAX_TENANT_CHARACTERS}}})/(.*)", re.DOTALL)


def tenant_prefix(tenant: str) -> str:
    """Return what the partition keys of a tenant begin with.

    Raises ``InvalidTenantError`` for an id that is empty, longer than 128 characters (``%`` and ``/`` count as three),
    or has control characters or half a surrogate pair; ``TypeError`` for what is no text.
    """
    if not isinstance(tenant, str):
        raise TypeError(f"a tenant's id is text, not {abridged(tenant)}")
    escaped = tenant.replace("%", "%25").replace("/", "%2F")
    if not 1 <= len(escaped) <= MAX_TENANT_CHARACTERS:
        raise InvalidTenantError(
            f"the tenant's id {abridged(tenant)} has {len(escaped):,} characters, and may have 1 to "
            f"{MAX_TENANT_CHARACTERS} (% and / count as three)"
        )
    if refused := _REFUSED.search(escaped):
        raise InvalidTenantError(f"the tenant's id {abridged(tenant)} has a {refused[0]!r}, which no id may have")
    return f"@{escaped}/"


def tenant_key(tenant: str, key: str) -> str:
    """Return the partition key that a record of a tenant is stored with.

    Raises ``InvalidPartitionKeyError`` where it has more than 256 characters, and as ``tenant_prefix``.
    """
    prefix = tenant_prefix(tenant)
    if len(prefix) + len(key) > MAX_KEY_CHARACTERS:
        raise too_long(prefix, key)
    return prefix + key


def too_long(prefix: str, key: str) -> InvalidPartitionKeyError:
    return InvalidPartitionKeyError(
        f"partition key {abridged(key, 40)} of {len(key):,} characters has {len(prefix) + len(key):,} with its "
        f"tenant's prefix {abridged(prefix, 40)}; the limit is {MAX_KEY_CHARACTERS}"
    )


def split_tenant(partition_key: str | None) -> tuple[str, str] | None:
    """Return the tenant that a record is of, and its key; ``None`` for a partition key that is no tenant's.

    The key is empty for a record that was put without one.
    """
    found = None if partition_key is None or len(partition_key) > MAX_KEY_CHARACTERS else _KEY.fullmatch(partition_key)
    if found is None:
        return None
    escaped, key = found.groups()
    if len(escaped) > MAX_TENANT_CHARACTERS or _REFUSED.search(escaped):
        return None
    return escaped.replace("%2F", "/").replace("%25", "%"), key
