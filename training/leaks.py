"""What in a history knows too much: columns that give the label away, labels known before anybody could know."""

from collections.abc import Iterator

import duckdb

from risk.errors import Problem
from risk.features.definition import NUMBERS, SIGNAL_PREFIX, TEXTS, TIMES

LEAK_AUC = 0.95
"""A column that ranks abuse better than this on its own is taken for a consequence of the label."""
EARLY_SHARE = 0.1
"""More labels than this share known within a minute of their claim are suspicious."""
FEWEST_LABELS = 50
"""Fewer abusive or legitimate claims than this teach nothing reliable."""
MINUTE = 60_000_000
# A leak shows in a sample as well as in a million claims, in a fraction of the time.
_SAMPLE = 200_000
_FEWEST_RANKED, _FEWEST_OF_A_WORD = 20, 20


def label_warnings(db: duckdb.DuckDBPyConnection) -> Iterator[Problem]:
    """Makes `outcomes` (the latest label of each claim, when it was first known) and judges it as a whole."""
    db.execute("""
        CREATE TEMP TABLE outcomes AS
        SELECT claim_id, any_value(submitted_at) AS submitted_at, min(known_at) AS known_at,
            arg_max(label, (known_at, label = 'abuse', label = 'legitimate')) = 'abuse' AS abuse
        FROM labels JOIN claims USING (claim_id)
        WHERE label IN ('abuse', 'legitimate') AND known_at IS NOT NULL AND submitted_at IS NOT NULL
        GROUP BY claim_id
    """)
    labelled, abuse, early, moments = db.sql(f"""
        SELECT count(*), count(*) FILTER (abuse), count(*) FILTER (known_at - submitted_at < {MINUTE}),
            count(DISTINCT known_at)
        FROM outcomes
    """).fetchall()[0]
    for word, many in (("abuse", abuse), ("legitimate", labelled - abuse)):
        if many < FEWEST_LABELS:
            seen = f"only {many} claim{'s are' if many > 1 else ' is'}" if many else "no claim is"
            yield Problem("labels.label", f"{seen} labelled {word}; at least {FEWEST_LABELS} are needed to learn from")
    delay = "labels.known_at"
    if labelled and early > EARLY_SHARE * labelled:
        share = f"{early:,} of {labelled:,} labels ({early / labelled:.0%})"
        yield Problem(delay, f"{share} are known within a minute of their claim: is this when they were known?")
    if labelled > 1 and moments == 1:
        yield Problem(delay, "all labels are known at the same moment: no earlier label can inform a later claim")


def signal_warnings(db: duckdb.DuckDBPyConnection) -> Iterator[Problem]:
    """Signals of the caller that say nothing: one value, or none."""
    signals = [name for name in db.table("claims").columns if name.startswith(SIGNAL_PREFIX)]
    if not signals:
        return
    bounds = ", ".join(f'count("{name}"), min("{name}")::VARCHAR, max("{name}")::VARCHAR' for name in signals)
    row = db.sql(f"SELECT {bounds}, count(*) FROM claims").fetchall()[0]
    for place, name in enumerate(signals):
        filled, least, most = row[3 * place : 3 * place + 3]
        if row[-1] and not filled:
            yield Problem(f"claims.{name}", "is empty everywhere: it says nothing")
        elif row[-1] > 1 and least == most and filled == row[-1]:
            yield Problem(f"claims.{name}", f"is {least} everywhere: it says nothing")


def leak_warnings(db: duckdb.DuckDBPyConnection) -> Iterator[Problem]:
    """Columns of claims whose value, or whose being there at all, ranks abuse nearly perfectly."""
    db.execute(f"""
        CREATE TEMP TABLE judged AS
        SELECT claims.*, outcomes.abuse::INT AS abuse_, (1 - outcomes.abuse::INT) AS honest_
        FROM claims JOIN outcomes USING (claim_id) ORDER BY hash(claim_id) LIMIT {_SAMPLE}
    """)
    for name, kind in zip(db.table("judged").columns, map(str, db.table("judged").types), strict=True):
        value = _ranked(db, name, kind)
        if value is None:
            continue
        if (auc := _auc(db, f'("{name}" IS NULL)::INT')) > LEAK_AUC:
            yield Problem(f"claims.{name}", f"whether it is filled tells abuse on its own (AUC {auc:.3f}): {_ADVICE}")
        if (auc := _auc(db, value)) > LEAK_AUC:
            yield Problem(f"claims.{name}", f"tells abuse on its own (AUC {auc:.3f}): {_ADVICE}")


_ADVICE = "was it written after the label was known?"


def _ranked(db: duckdb.DuckDBPyConnection, name: str, kind: str) -> str | None:
    """SQL for a number by which the column can be ranked; None where it is no feature or never filled."""
    column = f'"{name}"'
    feature = name.startswith(SIGNAL_PREFIX) or name in (*NUMBERS, *TIMES, *TEXTS)
    if not feature or name == "submitted_at":
        return None
    (filled, numbers), *_ = db.sql(
        f"SELECT count({column}), count(try_cast({column}::VARCHAR AS DOUBLE)) FROM judged"
    ).fetchall()
    if not filled:
        return None
    if name in TIMES:
        return f"{column} - submitted_at"
    if name == "description":
        return f"length({column})"
    if kind == "BOOLEAN":
        return f"{column}::INT"
    if kind != "VARCHAR" or (name.startswith(SIGNAL_PREFIX) and numbers == filled):
        return f"try_cast({column} AS DOUBLE)"
    # A word ranks by how often it goes with abuse; a rare one would tell by chance, as an id does.
    often = f"count(*) OVER (PARTITION BY {column}) >= {_FEWEST_OF_A_WORD}"
    return f"CASE WHEN {often} THEN avg(abuse_) OVER (PARTITION BY {column}) ELSE avg(abuse_) OVER () END"


def _auc(db: duckdb.DuckDBPyConnection, value: str) -> float:
    """Area under the curve of the better direction, ties counted half; 0 where too few are filled."""
    abuse, honest, below = db.sql(f"""
        WITH ranked AS (SELECT {value} AS value, abuse_, honest_ FROM judged),
        groups AS (SELECT value, sum(abuse_) AS abuse, sum(honest_) AS honest FROM ranked
            WHERE value IS NOT NULL GROUP BY value),
        placed AS (SELECT abuse, honest, sum(honest) OVER (ORDER BY value) - honest / 2 AS below FROM groups)
        SELECT coalesce(sum(abuse), 0), coalesce(sum(honest), 0), sum(abuse * below) FROM placed
    """).fetchall()[0]
    if min(abuse, honest) < _FEWEST_RANKED:
        return 0.0
    auc = float(below) / (float(abuse) * float(honest))
    return max(auc, 1 - auc)
