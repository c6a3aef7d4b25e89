"""The pictures of a back-test, drawn as those of the report on a bundle."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from training.backtest.words import WEEKDAYS, row_label
from training.report.pictures import FIRST, GRID, INK, MUTED, SECOND, THIRD, Data, draw

_SIZE = (4.6, 3.1)
_WIDE = (8.6, 2.6)
_MOST_BARS = 200
_PARTS = (("abuse", SECOND, 0.95), ("waiting", FIRST, 0.45), ("lost_buyers", FIRST, 0.9), ("reviewing", THIRD, 0.8))
_NAMES = {"abuse": "abuse", "waiting": "honest waiting", "lost_buyers": "lost buyers", "reviewing": "reviewing"}


def pictures(figures: Data) -> dict[str, str]:
    """SVG by name from the figures of the JSON file; a picture without figures is left out."""
    own, rows = figures["outcomes"][0], figures["tradeoff"]
    drawn = {
        "load": draw("load", lambda axes: _load(axes, rows, own["load"]["capacity"]),
                     "Cases an hour that reach the reviewers, against the share of the money approved at once.", size=_SIZE),
        "week": draw("week", lambda axes: _week(axes, own["week"]),
                     "Mean number of cases that reach the reviewers, by weekday and hour.", size=_WIDE),
        "days": draw("days", lambda axes: _days(axes, figures["outcomes"]),
                     "Cases that reach the reviewers each day, and the longest queue of each day.", size=_WIDE),
    }  # fmt: skip
    if any(row["let_through"]["value"] is not None for row in rows):
        drawn["tradeoff"] = draw(
            "tradeoff", lambda axes: _through(axes, rows, figures["alpha"]),
            "Share of abuse in the approved money with its 95 % interval, against the share of the money approved at once.",
            size=_SIZE,
        )  # fmt: skip
    if any(row["costs"]["total"] is not None for row in rows):
        drawn["costs"] = draw("costs", lambda axes: _costs(axes, rows), "What each row of the trade-off costs, in parts.",
                              size=(4.6, 0.7 + 0.24 * len(rows)))  # fmt: skip
    if any(row["honest_wait_p90"] is not None for row in rows):
        drawn["wait"] = draw("wait", lambda axes: _wait(axes, rows),
                             "Hours within which nine of ten honest claims are decided, against the money approved at once.", size=_SIZE)  # fmt: skip
    groups = [(look["title"], group) for look in own["fairness"] for group in look["groups"]]
    if any(group["paid_at_once"]["value"] is not None for _title, group in groups):
        drawn["fairness"] = draw(
            "fairness", lambda axes: _fairness(axes, own),
            "Share of honest claims approved at once by group, with 95 % intervals, beside that of all.",
            size=(6.4, 0.7 + 0.24 * len(groups)),
        )  # fmt: skip
    return drawn


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _part(number: float, _place: int | None = None) -> str:
    """Money in thousands or millions of whole units."""
    whole = number / 100
    if abs(whole) >= 2e6:
        return f"{whole / 1e6:g}M"
    return f"{whole / 1e3:g}k" if abs(whole) >= 2e3 else f"{whole:g}"


def _through(axes: Axes, rows: Sequence[Data], alpha: float) -> None:
    some = [row for row in rows if row["let_through"]["value"] is not None]
    for part, style, colour in ((_plain(some), "o-", FIRST), ([row for row in some if row["own"]], "o", INK)):
        y = [row["let_through"]["value"] for row in part]
        low = [value - _or(row["let_through"]["low"], value) for row, value in zip(part, y, strict=True)]
        high = [_or(row["let_through"]["high"], value) - value for row, value in zip(part, y, strict=True)]
        axes.errorbar(_shares(part), y, yerr=[low, high], color=colour, fmt=style, markersize=4 if colour == FIRST else 7,
                      elinewidth=1, capsize=2, linewidth=1, zorder=4 if colour == FIRST else 5)  # fmt: skip
    if any(row["true_let_through"] is not None for row in some):
        axes.plot(_shares(some), [_number(row["true_let_through"]) for row in some], "x", color=THIRD, markersize=5, label="true", zorder=6)
        axes.legend(loc="upper center")
    axes.axhline(alpha, color=SECOND, linewidth=1.2, linestyle="--")
    axes.annotate("tolerated", (0, alpha), xytext=(4, 3), textcoords="offset points", color=SECOND)
    # One wide interval of a row that approves little would stretch the scale.
    axes.set_ylim(0, max([2.2 * alpha, *(1.25 * row["let_through"]["value"] for row in some)]))
    axes.set(ylabel="abuse in it")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    _money_axis(axes)


def _plain(rows: Sequence[Data]) -> list[Data]:
    """The rows with one threshold for all segments: a line through the others as well would jump."""
    return [row for row in rows if row["name"] != "own"]


def _shares(rows: Sequence[Data]) -> list[float]:
    return [_number(row["approved_money_share"]) for row in rows]


def _money_axis(axes: Axes) -> None:
    axes.set_xlim(left=0)
    axes.set_xlabel("money approved at once")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(6))


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _load(axes: Axes, rows: Sequence[Data], capacity: float) -> None:
    part = _plain(rows)
    top = max(row["reviews_per_hour_p95"] for row in rows)
    axes.plot(_shares(part), [row["reviews_per_hour"] for row in part], "o-", color=FIRST, markersize=4, linewidth=1, label="mean")
    axes.plot(_shares(part), [row["reviews_per_hour_p95"] for row in part], "s--", color=SECOND, markersize=4, linewidth=1,
              label="one hour of twenty")  # fmt: skip
    if capacity < 1.6 * top:
        axes.axhline(capacity, color=MUTED, linewidth=1.2, linestyle=":", label="what they can do")
    _own(axes, rows, "reviews_per_hour")
    axes.set_ylim(0, 1.45 * max(top, 0.1))
    axes.set(ylabel="cases an hour for reviewers")
    axes.legend(loc="upper right", ncols=2)
    _money_axis(axes)


def _wait(axes: Axes, rows: Sequence[Data]) -> None:
    part = _plain(rows)
    axes.plot(_shares(part), [_number(row["honest_wait_p90"]) for row in part], "o-", color=FIRST, markersize=4, linewidth=1)
    _own(axes, rows, "honest_wait_p90")
    axes.set_ylim(bottom=0)
    axes.set(ylabel="hours, 90% of honest claims within")
    _money_axis(axes)


def _own(axes: Axes, rows: Sequence[Data], figure: str) -> None:
    """What the back-test is about."""
    for row in rows:
        if row["own"]:
            axes.plot([_number(row["approved_money_share"])], [_number(row[figure])], "o", color=INK, markersize=7, zorder=5, label="as asked")


def _costs(axes: Axes, rows: Sequence[Data]) -> None:
    axes.set_axisbelow(True)
    names = [row_label(row) for row in rows]
    place = np.arange(len(rows))
    left = np.zeros(len(rows))
    for part, colour, strength in _PARTS:
        size = np.array([_number(row["costs"][part]) for row in rows])
        size = np.nan_to_num(size)
        axes.barh(place, size, left=left, color=colour, alpha=strength, height=0.7, label=_NAMES[part])
        left += size
    axes.set_yticks(place, names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(FuncFormatter(_part))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(rows[0]["costs"]["currency"])
    axes.set_xlim(0, 1.05 * max(float(left.max()), 1.0))
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=4, handlelength=1.0, columnspacing=1.0, fontsize=8)


def _week(axes: Axes, week: Sequence[Data]) -> None:
    most = max([line["cases"] for line in week] + [1e-9])
    for line in week:
        corner = (line["hour"], line["weekday"])
        axes.add_patch(Rectangle(corner, 0.94, 0.92, facecolor=GRID, alpha=0.5, linewidth=0))
        axes.add_patch(Rectangle(corner, 0.94, 0.92, facecolor=FIRST, alpha=max(0.0, line["cases"] / most), linewidth=0))
    axes.set(xlim=(0, 24), ylim=(7, 0))
    axes.set_yticks([day + 0.46 for day in range(7)], WEEKDAYS)
    axes.set_xticks([hour + 0.47 for hour in range(0, 24, 3)], [f"{hour}:00" for hour in range(0, 24, 3)])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _days(axes: Axes, outcomes: Sequence[Data]) -> None:
    days = outcomes[0]["days"]
    axes.set_axisbelow(True)
    x = np.arange(len(days))
    cases = np.array([line["reviews"] + line["audits"] for line in days])
    if len(days) > _MOST_BARS:
        axes.plot(x, cases, color=FIRST, linewidth=1, label="cases a day")
    else:
        axes.bar(x, [line["reviews"] for line in days], color=FIRST, width=0.8, label="reviews a day")
        axes.bar(x, [line["audits"] for line in days], bottom=[line["reviews"] for line in days], color=FIRST, alpha=0.45, width=0.8,
                 label="audits a day")  # fmt: skip
    axes.plot(x, [line["queue"] for line in days], color=SECOND, linewidth=1.3, label="longest queue")
    for outcome in outcomes[1:]:
        others = outcome["days"]
        axes.plot(x, [line["queue"] for line in others], color=THIRD, linewidth=1.3, linestyle="--",
                  label=f"longest queue, {outcome['way']['name']}")  # fmt: skip
    top = max([*cases, *(line["queue"] for outcome in outcomes for line in outcome["days"]), 1])
    axes.set_ylim(0, 1.3 * top)
    axes.set_ylabel("cases")
    step = max(1, math.ceil(len(days) / 8))
    axes.set_xticks(x[::step], [line["day"][5:] for line in days[::step]])
    axes.legend(loc="upper right", ncols=4, handlelength=1.2, columnspacing=1.2)


def _fairness(axes: Axes, own: Data) -> None:
    lines: list[tuple[str, Any]] = [
        (f"{group['name'].replace('_', ' ')}", group) for look in own["fairness"] for group in look["groups"]
    ]
    place = np.arange(len(lines))
    every = own["buyers"]["paid_at_once"]["value"]
    axes.axvline(every, color=MUTED, linewidth=1.2, linestyle="--")
    axes.annotate("all", (every, -0.7), xytext=(4, 0), textcoords="offset points", color=MUTED, va="center")
    for y, (_name, group) in zip(place, lines, strict=True):
        share = group["paid_at_once"]
        if share["value"] is None:
            continue
        colour = SECOND if "approval" in group["warned"] else FIRST if group["judged"] else MUTED
        axes.plot([_or(share["low"], share["value"]), _or(share["high"], share["value"])], [y, y], color=colour, linewidth=1.4)
        axes.plot([share["value"]], [y], "o", color=colour, markersize=4)
    axes.set_yticks(place, [name for name, _group in lines])
    axes.set_ylim(len(lines) - 0.4, -1.1)
    axes.set_xlim(0, 1)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("honest claims approved at once")
