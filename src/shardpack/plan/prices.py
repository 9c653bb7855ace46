"""What a stream costs in each capacity mode: units that are billed, and prices that are inputs.

The default prices are US dollars in US East (N. Virginia and Ohio) as of November 2025, when On-demand Advantage came:
https://aws.amazon.com/kinesis/data-streams/pricing/. They differ by region, and change: give your own. Not counted:
retention beyond 24 hours, enhanced fan-out, encryption keys, transfer between regions.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..limits import KIB, MIB

HOURS_A_MONTH = 730
GIB = 1024 * MIB

PROVISIONED, ON_DEMAND, ON_DEMAND_ADVANTAGE = "provisioned", "on-demand", "on-demand advantage"

BILLED_STEP_BYTES = KIB
"""On-demand streams bill each Kinesis record as a multiple of this."""

ADVANTAGE_MIN_BYTES_PER_SECOND = 25 * MIB
"""What an account with On-demand Advantage pays for at least, in and out, over all its on-demand streams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What is paid, in one currency. GB are of 1,024 MiB, as they are billed."""

    shard_hour: float = 0.015
    million_payload_units: float = 0.014
    """PUT payload units: of a provisioned stream each Kinesis record counts as a multiple of 25 KiB."""
    stream_hour: float = 0.04
    gb_in: float = 0.08
    gb_out: float = 0.04
    """For each consumer that reads the stream."""
    advantage_gb_in: float = 0.032
    advantage_gb_out: float = 0.016


@dataclass(frozen=True, slots=True)
class Cost:
    """What one capacity mode bills for a stream, and what it costs."""

    mode: str
    """``provisioned``, ``on-demand`` or ``on-demand advantage``."""
    shard_hours_a_month: float
    million_payload_units_a_month: float
    gb_in_a_month: float
    gb_out_a_month: float
    a_month: float
    """Of 730 hours. Of On-demand Advantage, if this is all that the account has: at least the minimum."""
    a_month_beside_others: float
    """The same, but of On-demand Advantage without the minimum: where other streams of the account reach it."""


def costs(
    *,
    shards: int | None,
    payload_units_per_second: float,
    bytes_per_second: float,
    billed_bytes_per_second: float,
    consumers: int,
    prices: Prices,
) -> tuple[Cost, ...]:
    """Return what each mode costs: provisioned only with a number of ``shards``.

    ``billed_bytes_per_second`` counts each Kinesis record rounded up to ``BILLED_STEP_BYTES``. What is read counts as
    ``bytes_per_second`` for each of so many ``consumers``.
    """
    seconds = HOURS_A_MONTH * 3600
    gb_in = billed_bytes_per_second * seconds / GIB
    gb_out = bytes_per_second * consumers * seconds / GIB
    least = ADVANTAGE_MIN_BYTES_PER_SECOND * seconds / GIB
    found = []
    if shards is not None:
        hours = float(shards * HOURS_A_MONTH)
        units = payload_units_per_second * seconds / 1e6
        price = hours * prices.shard_hour + units * prices.million_payload_units
        found.append(Cost(PROVISIONED, hours, units, 0.0, 0.0, price, price))
    price = HOURS_A_MONTH * prices.stream_hour + gb_in * prices.gb_in + gb_out * prices.gb_out
    found.append(Cost(ON_DEMAND, 0.0, 0.0, gb_in, gb_out, price, price))
    price = gb_in * prices.advantage_gb_in + gb_out * prices.advantage_gb_out
    floor = max(gb_in, least) * prices.advantage_gb_in + max(gb_out, least) * prices.advantage_gb_out
    found.append(Cost(ON_DEMAND_ADVANTAGE, 0.0, 0.0, gb_in, gb_out, floor, price))
    return tuple(found)
