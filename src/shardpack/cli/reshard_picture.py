"""A stream's shards over the hash range, as a line of text: where each ends, and how much it gets."""

from __future__ import annotations

from rich.text import Text

from ..plan.load import Load, most_to_mean
from ..plan.resharding_target import MOST
from ..shards import HASH_KEYS, ShardMap

WIDTH = 64
LEVELS = "▁▂▃▄▅▆▇█"
NO_LOAD = "─"
MOST_EDGES = 24
"""Shards that are told apart by a line between them, where there is room; more by colour alone."""


def picture(shard_map: ShardMap, load: Load | None, most: float) -> Text:
    """Draw the shards: as high as the load of each, of which ``most`` is as high as it gets; too high ones in red."""
    loads = None if load is None else load.by_shard(shard_map)
    mean = 0.0 if loads is None else sum(loads) / len(loads)
    text, before = Text(), -1
    for column in range(WIDTH):
        index = shard_map.index_of((2 * column + 1) * HASH_KEYS // (2 * WIDTH))
        level, style = NO_LOAD, ("cyan", "blue")[index % 2]
        if loads is not None:
            level = LEVELS[min(len(LEVELS) - 1, int(loads[index] / most * len(LEVELS)))] if most else LEVELS[0]
            style = "bold red" if mean and loads[index] > MOST * mean * (1 + 1e-9) else style
        edge = index != before and column and len(shard_map) <= MOST_EDGES
        text.append("│" if edge else level, "dim" if edge else style)
        before = index
    return text


def pictures(before: ShardMap, after: ShardMap, load: Load | None) -> list[Text]:
    """Draw both maps, to one scale."""
    most = 0.0 if load is None else max(*load.by_shard(before), *load.by_shard(after))
    lines = []
    for name, shard_map in (("now", before), ("then", after)):
        heaviest = "" if load is None else f", heaviest {most_to_mean(load.by_shard(shard_map)):.2f} times the mean"
        shards = f"  {len(shard_map):,} shard{'s' * (len(shard_map) != 1)}{heaviest}"
        lines.append(Text.assemble(f"{name:<6}", picture(shard_map, load, most), shards))
    return lines
