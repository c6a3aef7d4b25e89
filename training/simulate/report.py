"""The marginals of a simulated history beside published figures, as one HTML page without outside parts.

Only this page and tests read the oracle: it says how the made-up world compares, never how to score a claim.
"""

import base64
import html
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import matplotlib

from risk.errors import InputError, Problem
from training.simulate.parameters import GRADES, Parameters, load

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HONEST, ABUSE, PUBLISHED = "#4c78a8", "#e45756", "#54a24b"


@dataclass(frozen=True)
class Figure:
    """One published figure and what the simulated history has in its place."""

    what: str
    simulated: float | None
    low: float
    high: float
    grade: str
    note: str
    ratio: bool = False


def write_report(history: Path, oracle: Path, file: Path) -> None:
    """Draw the page. Raises InputError where the history or its oracle is missing."""
    missing = [path for path in (history / "claims.parquet", history / "orders.parquet", oracle) if not path.is_file()]
    if missing:
        raise InputError([Problem("--report", f"{path} is missing") for path in missing])
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        for name in ("orders", "claims", "labels", "decisions"):
            if (history / f"{name}.parquet").is_file():
                _view(connection, name, history / f"{name}.parquet")
        _view(connection, "oracle", oracle)
        connection.execute("CREATE VIEW judged AS SELECT * FROM claims JOIN oracle USING (claim_id)")
        page = _page(history, figures(connection, load()), connection)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")


def _view(connection: duckdb.DuckDBPyConnection, name: str, path: Path) -> None:
    quoted = str(path).replace("'", "''")
    connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{quoted}')")


def figures(connection: duckdb.DuckDBPyConnection, p: Parameters) -> list[Figure]:
    """The published figures of the data file and the simulated ones, each with what it counts."""
    published = p.published
    dollars = p.published["dollar"]

    def one(sql: str) -> float | None:
        row = connection.execute(sql).fetchone()
        return None if row is None or row[0] is None else float(row[0])

    def ratio(first: str, second: str) -> float | None:
        return one(
            f"SELECT avg(abuse::INT) FILTER ({first}) / nullif(avg(abuse::INT) FILTER ({second}), 0) FROM judged"
        )

    def figure(what: str, value: float | None, low: str, high: str, note: str, *, by: bool = False) -> Figure:
        return Figure(what, value, published[low], published[high], p.grades[f"published.{high}"], note, by)

    days = "date_diff('second', delivered_at, submitted_at) / 86400.0"
    latest = "SELECT arg_max(label, known_at) AS label FROM labels GROUP BY claim_id"
    has_decisions = one("SELECT count(*) FROM duckdb_views() WHERE view_name = 'decisions'")
    loyal = """SELECT avg((decision = 'approve')::INT) FROM claims JOIN decisions USING (claim_id)
        WHERE buyer_id IN (SELECT buyer_id FROM orders GROUP BY buyer_id HAVING count(*) >= 12)"""
    labelled = f"""SELECT count(*) FILTER (label = 'abuse') * 1.0 / (SELECT count(*) FROM claims) FROM ({latest})"""
    inspected = """SELECT count(*) FILTER (label = 'abuse') * 1.0
        / (SELECT count(*) FROM claims WHERE remedy = 'return_and_refund')
        FROM labels WHERE source = 'return_inspection'"""
    kept = "SELECT avg((story = 'no_return')::INT) FROM judged WHERE remedy = 'return_and_refund'"
    money = "SELECT sum(amount) FILTER (abuse) / sum(amount) FROM judged"
    freight = "SELECT avg(abuse::INT) FROM judged WHERE reason = 'return_freight'"
    return [
        figure("abuse among claims: intent", one("SELECT avg(abuse::INT) FROM judged"), "survey_low", "survey_high",
               "published: retailers' estimate of returns; ours counts every claim of bad intent"),
        figure("claims labelled abuse", one(labelled), "denied_returns", "denied_returns",
               "published: returns denied; ours: claims whose latest known label is abuse"),
        figure("returns found abusive at inspection", one(inspected), "confirmed_fraud", "confirmed_fraud",
               "published: physically confirmed, an upper bound; ours has more, for small histories to learn from"),
        figure("returns never sent back", one(kept), "never_sent_back", "never_sent_back",
               "published: an upper bound, trusted buyers"),
        figure("abusive share of the money", one(money), "scored_money", "scored_money",
               "published: scored, not confirmed, by a vendor"),
        figure("freight claims that are abusive", one(freight), "freight_fraud_low", "freight_fraud_high",
               "published: one merchant's insurance"),
        figure("orders over $2,000 against under $100",
               ratio(f"paid_amount > {2000 * dollars}", f"paid_amount < {100 * dollars}"),
               "dear_against_cheap", "dear_against_cheap", "abusive share against abusive share", by=True),
        figure("not received against missing item", ratio("reason = 'not_received'", "reason = 'missing_item'"),
               "not_received_against_missing", "not_received_against_missing", "the same", by=True),
        figure("within seven days of delivery against later", ratio(f"{days} < 7", f"{days} >= 7"),
               "first_seven_days", "first_seven_days",
               "published: over 20 % more likely, a lower bound; its clock is not stated", by=True),
        figure("loyal buyers' claims approved at once", one(loyal) if has_decisions else None,
               "loyal_approved", "loyal_approved",
               "published: a lower bound; ours: buyers of twelve orders or more, earlier champion"),
    ]  # fmt: skip


def _page(history: Path, rows: list[Figure], connection: duckdb.DuckDBPyConnection) -> str:
    counts = connection.execute(
        "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM claims), (SELECT count(*) FROM labels)"
    ).fetchone()
    orders, claims, labels = counts or (0, 0, 0)
    body = "".join(_row(row) for row in rows)
    pictures = "".join(
        f"<h2>{html.escape(title)}</h2><img alt='{html.escape(title)}' src='data:image/png;base64,{picture}'>"
        for title, picture in _pictures(rows, connection)
    )
    grades = ", ".join(f"{grade}: {meaning}" for grade, meaning in GRADES.items())
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Simulated marketplace</title><style>
body{{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}}
table{{border-collapse:collapse;width:100%}}td,th{{padding:.3rem .6rem;border-bottom:1px solid #ddd;text-align:left}}
td.n{{text-align:right;white-space:nowrap}}img{{max-width:100%}}small{{color:#666}}</style></head><body>
<h1>Simulated marketplace</h1>
<p>{html.escape(history.name)}: {orders:,} orders, {claims:,} claims, {labels:,} labels.
Abuse counted here: {html.escape(load().abuse.definition)}.</p>
<h2>Beside published figures</h2>
<table><tr><th>what</th><th>simulated</th><th>published</th><th>grade</th><th>note</th></tr>{body}</table>
<p><small>{html.escape(grades)}.</small></p>{pictures}</body></html>
"""


def _row(row: Figure) -> str:
    def shown(value: float) -> str:
        return f"{value:.2f} times" if row.ratio else f"{value:.1%}"

    published = shown(row.low) if row.low == row.high else f"{shown(row.low)} to {shown(row.high)}"
    simulated = "none" if row.simulated is None else shown(row.simulated)
    cells = f"<td>{html.escape(row.what)}</td><td class=n>{simulated}</td><td class=n>{published}</td>"
    return f"<tr>{cells}<td>{row.grade}</td><td><small>{html.escape(row.note)}</small></td></tr>"


def _pictures(rows: list[Figure], connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Titles and PNG pictures in base64."""
    both = "count(*) FILTER (NOT abuse), count(*) FILTER (abuse)"
    roots = f"SELECT split_part(category, '.', 1), {both} FROM judged GROUP BY 1 ORDER BY 2"
    sizes = f"""SELECT printf('%.1f', floor(log10(amount / 100.0) * 2) / 2) AS size, {both} FROM judged
        GROUP BY 1 ORDER BY size::DOUBLE"""
    buyers = f"""SELECT least(claims, 12)::VARCHAR AS number, {both} FROM (SELECT buyer_id, count(*) AS claims,
        bool_or(abuse) AS abuse FROM judged GROUP BY 1) GROUP BY 1 ORDER BY number::INT"""
    return [
        ("Shares beside published ones", _beside([row for row in rows if not row.ratio], "share")),
        ("Ratios beside published ones", _beside([row for row in rows if row.ratio], "ratio of abusive shares")),
        ("Reasons, honest and abusive", _mix(connection, f"SELECT reason, {both} FROM judged GROUP BY 1 ORDER BY 2")),
        ("Root categories", _mix(connection, roots)),
        ("Amount of a claim in yuan, powers of ten", _mix(connection, sizes)),
        ("Claims a buyer, twelve and more together", _mix(connection, buyers)),
        ("Stories behind claims", _story_picture(connection)),
        ("Claims and abusive share by week", _weeks(connection)),
        ("Days from claim to label", _delays(connection)),
    ]  # fmt: skip


def _beside(rows: list[Figure], label: str) -> str:
    drawn = [row for row in rows if row.simulated is not None]
    figure, axes = plt.subplots(figsize=(8, 0.6 * len(drawn) + 1.2), layout="constrained")
    for place, row in enumerate(drawn):
        axes.plot([row.low, row.high], [place, place], color=PUBLISHED, linewidth=9, alpha=0.5, solid_capstyle="round")
    axes.scatter([row.simulated for row in drawn], range(len(drawn)), color=ABUSE, zorder=3, label="simulated")
    axes.scatter([row.high for row in drawn], range(len(drawn)), color=PUBLISHED, marker="s", label="published")
    axes.set_yticks(range(len(drawn)), [row.what.replace("$", r"\$") for row in drawn])
    axes.set_xlabel(label)
    axes.legend()
    return _png(figure)


def _mix(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Shares of honest and of abusive rows by group, side by side."""
    names, honest, abusive = _columns(connection, sql)
    figure, axes = plt.subplots(figsize=(8, 0.32 * len(names) + 1.2), layout="constrained")
    places = range(len(names))
    axes.barh([place + 0.2 for place in places], _shares(honest), 0.4, color=HONEST, label="honest")
    axes.barh([place - 0.2 for place in places], _shares(abusive), 0.4, color=ABUSE, label="abusive")
    axes.set_yticks(list(places), names)
    axes.set_xlabel("share of the honest, of the abusive")
    axes.legend()
    return _png(figure)


def _story_picture(connection: duckdb.DuckDBPyConnection) -> str:
    names, counts, abusive = _columns(
        connection,
        "SELECT story, count(*), any_value(abuse) FROM oracle WHERE story <> 'ordinary' GROUP BY 1 ORDER BY 2, 1",
    )
    figure, axes = plt.subplots(figsize=(8, 6), layout="constrained")
    axes.barh(names, counts, color=[ABUSE if row else HONEST for row in abusive])
    axes.set_xlabel("claims: red typologies of abuse, blue honest look-alikes")
    return _png(figure)


def _weeks(connection: duckdb.DuckDBPyConnection) -> str:
    weeks, counts, shares = _columns(
        connection,
        "SELECT date_trunc('week', submitted_at)::DATE, count(*), avg(abuse::INT) FROM judged GROUP BY 1 ORDER BY 1",
    )
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(8, 4.5), sharex=True, layout="constrained")
    upper.plot(weeks, counts, color=HONEST)
    upper.set_ylabel("claims")
    lower.plot(weeks, shares, color=ABUSE)
    lower.set_ylabel("abusive share")
    lower.set_ylim(0)
    return _png(figure)


def _delays(connection: duckdb.DuckDBPyConnection) -> str:
    rows = connection.execute(
        """SELECT source, quantile_cont(date_diff('second', submitted_at, known_at) / 86400.0,
        [0.05, 0.25, 0.5, 0.75, 0.95]) FROM labels JOIN claims USING (claim_id) GROUP BY 1 ORDER BY 1"""
    ).fetchall()
    figure, axes = plt.subplots(figsize=(8, 0.4 * len(rows) + 1.2), layout="constrained")
    for place, (_, (least, low, middle, high, most)) in enumerate(rows):
        axes.plot([least, most], [place, place], color=HONEST)
        axes.plot([low, high], [place, place], color=HONEST, linewidth=7, alpha=0.5)
        axes.plot(middle, place, "o", color=ABUSE)
    axes.set_yticks(range(len(rows)), [source for source, _ in rows])
    axes.set_xscale("log")
    axes.set_xlabel("days: 5, 25, 50, 75 and 95 %")
    return _png(figure)


def _columns(connection: duckdb.DuckDBPyConnection, sql: str) -> list[list[Any]]:
    rows = connection.execute(sql).fetchall()
    return [list(column) for column in zip(*rows, strict=True)]


def _shares(counts: list[float]) -> list[float]:
    total = max(1, sum(counts))
    return [count / total for count in counts]


def _png(figure: Any) -> str:
    buffer = io.BytesIO()
    # No version of the drawing library in the file: the same history gives the same page.
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    return base64.b64encode(buffer.getvalue()).decode()
