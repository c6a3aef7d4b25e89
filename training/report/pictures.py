"""The pictures, as inline SVG in the page's own colour variables: they follow light and dark, and stay sharp."""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

# Stand-ins that matplotlib writes and the page's stylesheet replaces; each occurs nowhere else.
INK, MUTED, GRID, FIRST, SECOND, THIRD = "#010203", "#010204", "#010205", "#010206", "#010207", "#010208"
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "rule", FIRST: "first", SECOND: "second", THIRD: "third"}
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
# Small, so that the text is legible where a narrow screen shows a picture at its own size.
_SIZE = (4.2, 3.1)
_LET_THROUGH = ("let_through_share", "let_through_claims_share")
_SETTLED = 0.05
_ROOM = 0.35
Data = Mapping[str, Any]


def pictures(figures: Data) -> dict[str, str]:
    """SVG by name from the figures of the JSON file; a picture without figures is left out."""
    main = figures["main"]
    drawn: dict[str, str] = {}
    if main["discrimination"]:
        found = main["discrimination"]
        drawn["roc"] = draw(
            "roc", lambda axes: _curve(axes, found["roc"], _roc_frame),
            f"ROC curve: recall against false positives, area {_text(found['auc'], 3)}, with its 95 % band.",
        )  # fmt: skip
        drawn["precision_recall"] = draw(
            "pr", lambda axes: _precision_recall(axes, found["precision_recall"], main["abuse_share"]["value"]),
            f"Precision against recall, average precision {_text(found['average_precision'], 3)}, with its 95 % band.",
        )  # fmt: skip
    drawn["reliability"] = draw(
        "reliability", lambda axes: _reliability(axes, main["calibration"]["bins"]),
        "Observed share of abuse against the predicted one in bins of equally many claims, with 95 % intervals.",
    )  # fmt: skip
    drawn["let_through"] = draw(
        "through", lambda axes: _let_through(axes, main),
        "Share of abuse in the approved money and in the approved claims against the share of money approved at once.",
    )  # fmt: skip
    drawn["caught"] = draw(
        "caught", lambda axes: _caught(axes, main, figures["population"]["claims"]),
        "Share of the abuse money that reviewers would see against the share of claims that they have to look at.",
    )  # fmt: skip
    if figures["gain"]:
        drawn["gain"] = draw(
            "gain", lambda axes: _gain(axes, figures["gain"]), "Share of the split gain of each group of features.",
            size=(4.8, 0.4 + 0.24 * len(figures["gain"])),
        )  # fmt: skip
    return drawn


def draw(name: str, paint: Callable[[Axes], None], description: str, *, size: tuple[float, float] = _SIZE) -> str:
    """One picture as inline SVG; `name` makes its ids its own, `description` is its text alternative."""
    # The salt makes ids the same in every run.
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), name, description)


def _inline(svg: str, name: str, description: str) -> str:
    """Only the element itself, scaling with the page, in the page's colours and with its text alternative."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r' (width|height)="[\d.]+pt"', "", body, count=2)
    body = re.sub(r' xmlns(:xlink)?="[^"]*"', "", body).replace("xlink:href", "href")
    # An id may stand only once on the page, and every picture has a "figure_1".
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    return body.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)


def _text(interval: Data, digits: int) -> str:
    return "unknown" if interval["value"] is None else f"{interval['value']:.{digits}f}"


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _curve(axes: Axes, points: Sequence[Data], frame: Callable[[Axes], None]) -> None:
    x = [point["x"] for point in points]
    low, middle, high = ([_number(point["y"][part]) for point in points] for part in ("low", "value", "high"))
    axes.fill_between(x, low, high, color=FIRST, alpha=0.22, linewidth=0)
    axes.plot(x, middle, color=FIRST)
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    frame(axes)


def _precision_recall(axes: Axes, points: Sequence[Data], base: float) -> None:
    _curve(axes, points, lambda drawn: _pr_frame(drawn, base))


def _roc_frame(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
    axes.annotate("by chance", (0.62, 0.55), color=MUTED)
    axes.set(xlabel="honest claims marked (false positives)", ylabel="abuse marked (recall)")


def _pr_frame(axes: Axes, base: float) -> None:
    axes.axhline(base, color=MUTED, linewidth=1, linestyle="--")
    axes.annotate("by chance", (0.02, base), xytext=(0, 4), textcoords="offset points", color=MUTED)
    axes.set(xlabel="abuse marked (recall)", ylabel="abuse among the marked (precision)")


def _reliability(axes: Axes, bins: Sequence[Data]) -> None:
    x = [line["predicted"] for line in bins]
    y = [line["observed"]["value"] for line in bins]
    errors = [[line["observed"]["value"] - line["observed"]["low"] for line in bins],
              [line["observed"]["high"] - line["observed"]["value"] for line in bins]]  # fmt: skip
    top = min(1.0, 1.08 * max([*x, *(line["observed"]["high"] for line in bins), 0.01]))
    axes.plot([0, top], [0, top], color=MUTED, linewidth=1, linestyle="--")
    axes.errorbar(x, y, yerr=errors, color=FIRST, fmt="o", markersize=4, elinewidth=1.2, capsize=2)
    # Most claims have small probabilities: a root scale keeps them apart and still shows zero.
    for scale, limit in ((axes.set_xscale, axes.set_xlim), (axes.set_yscale, axes.set_ylim)):
        scale("function", functions=(lambda v: abs(v) ** 0.5, lambda v: v**2))
        limit(0, top)
    ticks = [
        tick
        for tick in (0, 0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
        if tick <= top and _apart(tick, top)
    ]
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    axes.set(xlabel="predicted abuse (root scale)", ylabel="observed abuse (root scale)")


def _apart(tick: float, top: float) -> bool:
    """Small ticks only where they have room beside zero."""
    return tick == 0 or (tick / top) ** 0.5 > 0.1


def _let_through(axes: Axes, main: Data) -> None:
    points, own = main["picture"], main["own"]["approval"]
    x = [_number(point["approved_money_share"]) for point in points]
    for name, colour, style, label in (
        (_LET_THROUGH[0], FIRST, "-", "of the approved money"),
        (_LET_THROUGH[1], SECOND, "--", "of the approved claims"),
    ):
        axes.plot(x, [_number(point[name]) for point in points], color=colour, linestyle=style, label=label)
    _own(axes, own["approved_money_share"], own["let_through_share"], above=True)
    axes.set(xlim=(0, 1), xlabel="money approved at once", ylabel="abuse let through")
    # The first few claims say little and would stretch the scale.
    settled = [_number(point[name]) for point in points for name in _LET_THROUGH if point["approved_share"] > _SETTLED]
    axes.set_ylim(0, 1.15 * max([*(value for value in settled if math.isfinite(value)), 0.001]))
    axes.legend(loc="upper left")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _caught(axes: Axes, main: Data, claims: int) -> None:
    points, own = main["picture"], main["own"]["approval"]
    x = [point["to_review"] / claims for point in points]
    axes.plot(x, [_number(point["caught_share"]) for point in points], color=THIRD)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
    axes.annotate("by chance", (0.72, 0.65), color=MUTED)
    _own(axes, own["to_review"] / claims, own["caught_share"], above=False)
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="claims left for reviewers", ylabel="abuse money held back")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _own(axes: Axes, x: float | None, y: float | None, *, above: bool) -> None:
    """The bundle's own threshold, its name on the side that the curve leaves free."""
    if x is None or y is None:
        return
    axes.plot([x], [y], "o", color=INK, markersize=6, zorder=5)
    left_of = x > _ROOM if above else x > 1.0 - _ROOM
    axes.annotate(
        "own threshold",
        (x, y),
        xytext=(-8 if left_of else 8, 8 if above else -13),
        textcoords="offset points",
        color=INK,
        ha="right" if left_of else "left",
    )


def _gain(axes: Axes, gain: Sequence[Data]) -> None:
    names = [line["group"].replace("_", " ") for line in reversed(gain)]
    shares = [_number(line["share"]) for line in reversed(gain)]
    bars = axes.barh(names, shares, color=FIRST, height=0.7)
    axes.bar_label(bars, [f"{100 * share:.1f}%" for share in shares], padding=4, color=INK)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    axes.set_xlim(0, 1.12 * max([*shares, 0.01]))
    axes.tick_params(axis="y", length=0)
