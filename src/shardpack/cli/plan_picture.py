"""Load over the hash range, before and after: as text, and as a drawing by matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text

from ..plan.capacity import Plan, ShardLoad
from ..shards import HASH_KEYS
from .outcome import BadInputError, os_error_text

WIDTH = 64
LEVELS = "▁▂▃▄▅▆▇█"
INK, FAINT, GRID = "#1f2328", "#59636e", "#d9dde2"
FITS, HOT = "#0072b2", "#d55e00"  # Okabe and Ito's
MOST_NAMED = 12


def text_picture(shards: tuple[ShardLoad, ...], most: float, limit: float) -> Text:
    """Draw shards as wide as their hash ranges and as high as they are full; too full ones in red."""
    text = Text()
    for column in range(WIDTH):
        at = (2 * column + 1) * HASH_KEYS // (2 * WIDTH)
        index = next(i for i, shard in enumerate(shards) if at in shard.shard)
        level = min(len(LEVELS) - 1, int(shards[index].utilisation / most * len(LEVELS)))
        hot = shards[index].utilisation > limit + 1e-9
        text.append(LEVELS[level], "bold red" if hot else ("cyan", "blue")[index % 2])
    return text


def text_pictures(plan: Plan) -> list[Text]:
    """Draw the shards before and after, to one scale."""
    most = max(shard.utilisation for shard in (*plan.shards, *plan.after)) or 1.0
    lines = []
    for name, shards in (("now", plan.shards), ("then", plan.after)):
        if shards:
            fullest = max(shard.utilisation for shard in shards)
            count = f"  {len(shards):,} shard{'s' * (len(shards) != 1)}, the fullest at {fullest:.0%}"
            lines.append(Text.assemble(f"{name:<6}", text_picture(shards, most, plan.max_utilisation), count))
    return lines


def draw(plan: Plan, file: str, kind: str) -> None:
    """Write the same as PNG or SVG. Raises ``BadInputError`` without matplotlib, or where it cannot be written."""
    try:
        from matplotlib import rc_context  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise BadInputError("a picture needs matplotlib: pip install 'shardpack[plan]'") from None
    style: Any = {
        "font.family": "DejaVu Sans",
        "text.color": INK,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.titlesize": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": GRID,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "svg.hashsalt": "shardpack",
    }
    panels = [(f"Now: {_count(plan.shards)}", plan.shards)]
    if plan.recommended is not None:
        panels.append((f"With {plan.recommended.name}: {_count(plan.after)}", plan.after))
    with rc_context(style):
        figure = Figure(figsize=(5.4 * len(panels), 4.2), layout="constrained")
        every: Any = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, shards) in zip(every, panels, strict=True):
            _panel(axes, title, shards, plan)
        top = max(1.0, *(shard.utilisation for shard in (*plan.shards, *plan.after)))
        every[0].set_ylim(0, top * 1.15)
        every[0].set_ylabel("of 1 MiB or 1,000 records a second")
        every[0].yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        try:
            figure.savefig(Path(file), dpi=144, format=kind)
        except (OSError, ValueError) as error:
            reason = os_error_text(error) if isinstance(error, OSError) else str(error)
            raise BadInputError(f"{file}: {reason}") from None


def _count(shards: tuple[ShardLoad, ...]) -> str:
    return f"{len(shards):,} shard{'s' * (len(shards) != 1)}"


def _panel(axes: Any, title: str, shards: tuple[ShardLoad, ...], plan: Plan) -> None:
    limit = plan.max_utilisation
    starts = [shard.shard.starting_hash_key / HASH_KEYS for shard in shards]
    widths = [(shard.shard.ending_hash_key + 1 - shard.shard.starting_hash_key) / HASH_KEYS for shard in shards]
    heights = [shard.utilisation for shard in shards]
    colours = [HOT if height > limit + 1e-9 else FITS for height in heights]
    edge = 1.0 if len(shards) <= 100 else 0.0
    axes.bar(starts, heights, widths, align="edge", color=colours, edgecolor="white", linewidth=edge)
    axes.axhline(1, color=INK, lw=1.2)
    axes.axhline(limit, color=FAINT, lw=1, ls="--")
    axes.annotate("full", (1, 1), (2, 2), textcoords="offset points", ha="left", fontsize=8, color=INK)
    axes.annotate(f"{limit:.0%}", (1, limit), (2, -3), textcoords="offset points", ha="left", fontsize=8, color=FAINT)
    hot = sorted((i for i in range(len(shards)) if heights[i] > limit + 1e-9), key=lambda i: -heights[i])[:MOST_NAMED]
    for i in hot:
        names = ", ".join(key.partition_key[:12] for key in shards[i].keys[:2])
        axes.annotate(
            names,
            (starts[i] + widths[i] / 2, heights[i]),
            (0, 5),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2},
        )
        if shards[i].split_point is not None:
            at = shards[i].split_point / HASH_KEYS  # type: ignore[operator]
            axes.plot([at, at], [0, heights[i]], color="white", lw=1.4, ls=":")
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "2¹²⁸"])
    axes.set_xlabel("hash key; dotted: where to split" if hot else "hash key")
    axes.set_title(title)
