"""Many tenants on one stream, none of which delays another; or a stream for each, at little cost while it is idle.

The names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .keys import split_tenant, tenant_key
    from .pool import ProducerPool
    from .producer import AsyncTenantProducer, TenantProducer
    from .reading import TenantRecords, for_tenant
    from .receipts import TenantReceipt
    from .slices import HashSlice, tenant_shards
    from .tenant import Tenant, TenantStats

__all__ = [
    "AsyncTenantProducer",
    "HashSlice",
    "ProducerPool",
    "Tenant",
    "TenantProducer",
    "TenantReceipt",
    "TenantRecords",
    "TenantStats",
    "for_tenant",
    "split_tenant",
    "tenant_key",
    "tenant_shards",
]

_MODULES = {
    "AsyncTenantProducer": "producer",
    "HashSlice": "slices",
    "ProducerPool": "pool",
    "Tenant": "tenant",
    "TenantProducer": "producer",
    "TenantReceipt": "receipts",
    "TenantRecords": "reading",
    "TenantStats": "tenant",
    "for_tenant": "reading",
    "split_tenant": "keys",
    "tenant_key": "keys",
    "tenant_shards": "slices",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
