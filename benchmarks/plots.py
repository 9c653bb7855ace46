"""Draw the plots of docs/img from benchmarks/results/latest.json."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

INK, FAINT, GRID = "#1f2328", "#59636e", "#d9dde2"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "shardpack",
}

# Okabe and Ito's colours, which those tell apart who see fewer of them; ours warm and blue, peers in grey and brown
LOOKS = {
    "add_many": ("#0072b2", "o", "-"),
    "add": ("#56b4e9", "s", "-"),
    "deaggregate_columns": ("#009e73", "D", "-"),
    "deaggregate, no field read": ("#0072b2", "o", "-"),
    "deaggregate, all read": ("#56b4e9", "s", "-"),
    "aws_kinesis_agg": ("#d55e00", "^", "-"),
    "aws_kinesis_agg, all read": ("#d55e00", "^", "-"),
    "aiokpl": ("#b07aa1", "v", "-"),
    "memcpy + MD5": ("#7a828a", "", "--"),
    "avx512": ("#0072b2", "o", "-"),
    "avx512vl": ("#cc79a7", "P", "-"),
    "avx2": ("#56b4e9", "s", "-"),
    "neon": ("#56b4e9", "s", "-"),
    "sse2": ("#009e73", "D", "-"),
    "portable": ("#e69f00", "v", "-"),
    "hashlib": ("#d55e00", "^", "-"),
}

Series = Mapping[str, Mapping[Any, float]]


def series(
    suite: Iterable[Mapping[str, Any]], group: str, contenders: Iterable[str] | None = None
) -> dict[str, dict[Any, float]]:
    """Return what a group measured per second: contender to place on the axis to amount; of these, in this order."""
    found: dict[str, dict[Any, float]] = {}
    for benchmark in suite:
        if benchmark["group"] == group:
            found.setdefault(benchmark["contender"], {})[benchmark["at"]] = benchmark["amount"] / benchmark["min"]
    return (
        found if contenders is None else {contender: found[contender] for contender in contenders if contender in found}
    )


def draw_all(results: Mapping[str, Any], folder: Path) -> None:
    """Write every plot as SVG and PNG."""
    suite, about = results["suite"], results["environment"]
    with plt.rc_context(STYLE):
        for name, draw in (("record-size", record_size), ("shards-and-keys", shards_and_keys), ("md5", md5)):
            figure = draw(suite)
            figure.text(0.008, 0.012, caption(about), fontsize=7.5, color=FAINT)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            figure.savefig(folder / f"{name}.png", dpi=144, metadata={"Software": None})
            plt.close(figure)


def caption(about: Mapping[str, Any]) -> str:
    facts = (f"{about['cpu']}, one core", f"MD5 kernel {about['md5_kernel']}", about["python"], about["commit"])
    return " · ".join((*facts, about["command"]))


def record_size(suite: Any) -> plt.Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True)
    lines(
        left,
        series(suite, "aggregate by record size", ("memcpy + MD5", "add_many", "add", "aiokpl", "aws_kinesis_agg")),
    )
    lines(
        right,
        series(
            suite,
            "deaggregate by record size",
            (
                "deaggregate_columns",
                "deaggregate, all read",
                "deaggregate, no field read",
                "aiokpl",
                "aws_kinesis_agg, all read",
            ),
        ),
    )
    left.set_title("Aggregate: 8 shards, add + flush")
    right.set_title("Deaggregate: records as GetRecords gives them")
    left.set_ylabel("user records per second")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="bytes of data in a user record")
        name_ticks(axes.xaxis, (10, 100, 1_000, 10_000, 100_000), ("10 B", "100 B", "1 KB", "10 KB", "100 KB"))
    name_ticks(left.yaxis, [10**i for i in range(3, 9)], ("1 k", "10 k", "100 k", "1 M", "10 M", "100 M"))
    return arrange(figure, (left, right), right_margin=0.34)


def shards_and_keys(suite: Any) -> plt.Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.0), sharey=True)
    for axes, group, label in (
        (left, "aggregate by shard count", "shards"),
        (right, "aggregate by key cardinality", "different partition keys"),
    ):
        found = {
            contender: {at: 1e9 / rate for at, rate in values.items()}
            for contender, values in series(suite, group).items()
        }
        lines(axes, found, labels=False)
        places = sorted(found["add_many"])
        for at in places:
            value = found["add_many"][at]
            axes.annotate(f"{value:.0f}", (at, value), (0, 8), textcoords="offset points", ha="center", fontsize=9)
        axes.set(xscale="log", xlabel=label)
        name_ticks(axes.xaxis, places, [f"{at:,}".replace(",000,000", " M").replace(",000", " k") for at in places])
    left.set_ylim(0, left.get_ylim()[1] * 1.12)
    left.set_ylabel("nanoseconds per user record")
    left.set_title("By shard count: 100,000 keys")
    right.set_title("By key cardinality: 8 shards")
    return arrange(figure, (left, right), right_margin=0.02)


def md5(suite: Any) -> plt.Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
    found = {
        contender: {at: rate / 1e9 for at, rate in values.items()}
        for contender, values in series(suite, "MD5 by message size").items()
    }
    lines(left, found)
    left.set(xscale="log", ylim=(0, None), xlabel="bytes per message", ylabel="GB per second")
    name_ticks(left.xaxis, [10**i for i in range(1, 7)], ("10 B", "100 B", "1 KB", "10 KB", "100 KB", "1 MB"))
    left.set_title("MD5 of many messages")
    found = {
        contender: {at: rate / 1e6 for at, rate in values.items()}
        for contender, values in series(suite, "hash keys by key length").items()
    }
    lines(right, found)
    right.set(xscale="log", yscale="log", xlabel="characters a partition key", ylabel="million hash keys per second")
    name_ticks(right.xaxis, (8, 36, 256), ("8", "36", "256"))
    name_ticks(right.yaxis, (1, 10, 100), ("1", "10", "100"))
    right.set_ylim(min(0.8, right.get_ylim()[0]), max(120, right.get_ylim()[1]))
    right.set_title("Hash keys of partition keys")
    return arrange(figure, (left, right), right_margin=0.27)


def lines(axes: plt.Axes, found: Series, *, labels: bool = True) -> None:
    """Draw a line for each contender, named at its end in its colour."""
    for contender, values in found.items():
        places = sorted(values)
        colour, marker, dashes = LOOKS[contender]
        axes.plot(places, [values[at] for at in places], dashes, marker=marker, color=colour, lw=2, ms=5, clip_on=False)
        if labels:
            axes.annotate(
                contender,
                (places[-1], values[places[-1]]),
                (9, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                color=colour,
                annotation_clip=False,
            )


def name_ticks(axis: Any, places: Iterable[float], names: Iterable[str]) -> None:
    axis.set_major_locator(mpl.ticker.FixedLocator(list(places)))
    axis.set_major_formatter(mpl.ticker.FixedFormatter(list(names)))
    axis.set_minor_locator(mpl.ticker.NullLocator())


def arrange(figure: plt.Figure, panels: Iterable[plt.Axes], *, right_margin: float) -> plt.Figure:
    """Leave room for the names at the ends of lines, and push those apart that would touch."""
    figure.subplots_adjust(
        left=0.075, right=0.99 - right_margin * 0.48, bottom=0.19, top=0.92, wspace=right_margin + 0.06
    )
    figure.canvas.draw()
    for axes in panels:
        names = [text for text in axes.texts if text.get_ha() == "left"]
        below = -math.inf
        for text in sorted(names, key=lambda text: axes.transData.transform(text.xy)[1]):
            at = axes.transData.transform(text.xy)[1]
            wanted = max(at, below + 11 * figure.dpi / 72)
            text.set_position((9, (wanted - at) * 72 / figure.dpi))
            below = wanted
    return figure
