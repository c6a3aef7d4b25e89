"""`check`: everything that is wrong or suspicious about a history, at once.

A **problem** makes training refuse the history; a **warning** is for a person to judge: most of all columns that know
the answer, and labels that were known too early to be true.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from risk.claim import MAX_MONEY
from risk.errors import HistoryError, Problem
from risk.features.definition import SIGNAL_PREFIX, TIMES
from risk.policy.definition import load_policies
from risk.vocabulary import CHANNELS, LABELS, REASONS, REMEDIES, RETURN_METHODS
from training.history import _COLUMNS as COLUMNS
from training.history import _TYPES as COLUMN_TYPES
from training.history import REQUIRED, table_file
from training.leaks import label_warnings, leak_warnings, signal_warnings
from training.uneven import delimiter, uneven_line

_KEYS = {"orders": "order_id", "claims": "claim_id", "labels": "claim_id"}
_MONEY = {
    "orders": ("paid_amount", "refunded_amount"),
    "claims": ("amount", "paid_amount", "refunded_amount", "unit_price"),
}
_WORDS = {"reason": REASONS, "remedy": REMEDIES, "channel": CHANNELS, "return_method": RETURN_METHODS}
_EMPTY = "has no rows"
_CODES = ("merchant_guarantees", "item_guarantees")
"""Columns that hold several words with spaces between."""
_HAPPENED = tuple(name for name in TIMES if name not in ("submitted_at", "promised_by"))
"""What had happened by the time of a claim, or not: a later moment counts as unknown."""
_EARLIEST, _LATEST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000 for year in (1990, 2100))
_DAY = 86_400_000_000
_OFFSET = r"\d[ T]?\d*:\d.*([Zz]|[+-]\d\d(:?\d\d)?)$"
_WRITTEN = "TEXT"
"""Type of a CSV's columns: what is written there may still become a boolean, a text in Parquet may not."""
_POINTED = r"\d\.0*\s*$"
"""A whole number with a decimal point: of major units perhaps, or only written by a library that had gaps to fill."""
_POINT_ADVICE = "minor units are expected (195.00 would be 19500)"
_MINOR_UNITS = "whole numbers of minor units (195.50 would be 19550)"
_EXPECTED = {"time": "times with an offset", "int": "whole numbers", "float": "numbers", "text": "texts"}


@dataclass(frozen=True)
class Findings:
    """What is wrong, what is suspicious, and what there is: rows by table, times in microseconds."""

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    rows: Mapping[str, int] = field(default_factory=dict)
    first: int | None = None
    last: int | None = None
    labelled: int = 0
    abuse: int = 0
    delay_days: tuple[float, ...] = ()


@dataclass(frozen=True)
class _Rule:
    """Rows for which `when` (SQL) holds are reported as `detail`; `value` is shown of one of them."""

    where: str
    detail: str
    when: str
    value: str = "NULL"
    warning: bool = False


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--history", type=Path, required=True, help="folder with orders, claims and labels")


def run(args: argparse.Namespace) -> None:
    """Print what there is and what is suspicious; HistoryError with all that makes training impossible."""
    findings = check_history(args.history)
    print("\n".join(_summary(findings)))
    if findings.problems:
        raise HistoryError(findings.problems)


def _summary(findings: Findings) -> Iterator[str]:
    for table, rows in findings.rows.items():
        yield f"{table:<8}{rows:>12,} rows"
    if findings.first is not None and findings.last is not None:
        days = [datetime.fromtimestamp(moment / 1e6, UTC).date() for moment in (findings.first, findings.last)]
        yield f"claims from {days[0]} to {days[1]}"
    if findings.labelled:
        share = findings.abuse / findings.labelled
        yield f"{findings.labelled:,} claims labelled, {findings.abuse:,} of them abuse ({share:.2%})"
    if findings.delay_days:
        quick, half, slow = findings.delay_days
        yield f"days until a label is known: {quick:.2f} (1 of 10), {half:.2f} (half), {slow:.2f} (9 of 10)"
    yield _counted(findings.problems, "problem") + (", listed on standard error" if findings.problems else "")
    yield _counted(findings.warnings, "warning")
    yield from (f"  {warning}" for warning in findings.warnings)


def _counted(found: Sized, word: str) -> str:
    return f"{len(found)} {word}" if len(found) == 1 else f"{len(found)} {word}s"


def check_history(path: Path, *, warn: bool = True) -> Findings:
    """Read all three tables and judge them; an unreadable table is a problem like any other, nothing is raised.

    Without `warn` only what is refused is looked for, in about half the time.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    with (
        tempfile.TemporaryDirectory(prefix="check-") as scratch,
        duckdb.connect(config={"memory_limit": "3GB", "temp_directory": scratch}) as db,
    ):
        db.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        rows = {table: _load(db, path, table, problems, warnings) for table in REQUIRED}
        for rule, source, others in _rules_between_tables():
            # Against a table that is not there everything would be an offender.
            if rows[others]:
                _apply(db, source, "claim_id", [rule], problems, warnings)
        # Makes the table of outcomes, too.
        about_labels = [*label_warnings(db)]
        # Without a row to judge, the table itself is the problem.
        warnings += about_labels if rows["labels"] and rows["claims"] else []
        warnings += [*signal_warnings(db), *leak_warnings(db)] if warn else []
        labelled, abuse = _row(db, "SELECT count(*), count(*) FILTER (abuse) FROM outcomes")
        first, last = _row(db, "SELECT min(submitted_at), max(submitted_at) FROM claims")
        delays = _row(db, f"SELECT quantile_cont((known_at - submitted_at) / {_DAY}, [0.1, 0.5, 0.9]) FROM outcomes")[0]
    return Findings(
        tuple(problems), tuple(warnings), rows, first, last, labelled, abuse, tuple(map(float, delays or ()))
    )


def refused(path: Path) -> list[Problem]:
    """What `check_history` refuses, empty tables apart: nothing can be learnt without orders or labels, but judged it can."""
    return [problem for problem in check_history(path, warn=False).problems if problem.detail != _EMPTY]


def _row(db: duckdb.DuckDBPyConnection, query: str) -> tuple:
    return db.sql(query).fetchall()[0]


def _load(
    db: duckdb.DuckDBPyConnection, path: Path, table: str, problems: list[Problem], warnings: list[Problem]
) -> int:
    """Make `table` with all columns of the contract typed, missing or unusable values null; its number of rows."""
    types: dict[str, str] = {}
    try:
        types = _open(db, path, table)
        rows = _judge(db, table, types, problems, warnings)
    except (duckdb.Error, HistoryError) as error:
        problems += error.problems if isinstance(error, HistoryError) else [_unreadable(path, table, error)]
        db.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT {_typed_columns(table, {})} LIMIT 0")
        return 0
    missing = [name for name in REQUIRED[table] if name not in types]
    problems += [Problem(f"{table}.{name}", "required column is missing") for name in missing]
    warnings += _unknown_columns(table, types)
    if not rows:
        problems.append(Problem(table, _EMPTY))
    return rows


def _unreadable(path: Path, table: str, error: duckdb.Error) -> Problem:
    """Why a table cannot be read; of a CSV the line to mend, where there is one."""
    file = table_file(path, table)
    uneven = uneven_line(file) if file is not None and file.suffix == ".csv" else None
    return Problem(table, uneven or f"cannot be read: {str(error).splitlines()[0]}")


def _unknown_columns(table: str, types: Mapping[str, str]) -> Iterator[Problem]:
    """Columns that nobody reads: most often a known one that is misspelt, or a signal without its prefix."""
    signals = table == "claims"
    unknown = [name for name in types if name not in COLUMNS[table] and not (signals and name.startswith(SIGNAL_PREFIX))]
    if unknown:
        said = "columns {} are not known and are not used" if len(unknown) > 1 else "column {} is not known and is not used"
        hint = f" (own signals begin with {SIGNAL_PREFIX})" if signals else ""
        yield Problem(table, said.format(", ".join(unknown)) + hint)


def _open(db: duckdb.DuckDBPyConnection, path: Path, table: str) -> dict[str, str]:
    file = table_file(path, table)
    if file is None:
        raise HistoryError([Problem(table, f"no {table}.parquet or {table}.csv in {path}")])
    # A CSV is read as text, so that a value is judged as it was written.
    parquet = file.suffix == ".parquet"
    raw = db.read_parquet(str(file)) if parquet else db.read_csv(str(file), all_varchar=True, header=True)
    # Of lines of different lengths the reader makes one column.
    if not parquet and len(raw.columns) == 1 and delimiter(raw.columns[0]) and (uneven := uneven_line(file)):
        raise HistoryError([Problem(table, uneven)])
    raw.create_view(f"raw_{table}")
    return dict(zip(raw.columns, map(str, raw.types) if parquet else [_WRITTEN] * len(raw.columns), strict=True))


def _judge(
    db: duckdb.DuckDBPyConnection, table: str, types: dict[str, str], problems: list[Problem], warnings: list[Problem]
) -> int:
    db.execute(f"CREATE TEMP TABLE {table} AS SELECT {_typed_columns(table, types)} FROM raw_{table}")
    key = _typed(_KEYS[table], types)
    _apply(db, f"raw_{table}", key, list(_rules_of_values(table, types)), problems, warnings)
    _apply(db, table, _KEYS[table], list(_rules_of_rows(table)), problems, warnings)
    if table != "labels":
        key = _KEYS[table]
        twice = f"(SELECT {key} FROM {table} WHERE {key} IS NOT NULL GROUP BY 1 HAVING count(*) > 1)"
        _apply(db, twice, key, [_Rule(f"{table}.{key}", "ids occur more than once", "true")], problems, warnings)
    return int(_row(db, f"SELECT count(*) FROM {table}")[0])


def _typed_columns(table: str, types: dict[str, str]) -> str:
    signals = [f'"{name}"' for name in types if table == "claims" and name.startswith(SIGNAL_PREFIX)]
    return ", ".join([*(f'{_typed(name, types)} AS "{name}"' for name in COLUMNS[table]), *signals])


def _typed(name: str, types: dict[str, str]) -> str:
    """SQL for a value in its proper type, null where it has none."""
    kind, found, value = COLUMN_TYPES[name], types.get(name), f'"{name}"'
    if found is None:
        return {"text": "NULL::VARCHAR", "float": "NULL::DOUBLE"}.get(kind, "NULL::BIGINT")
    nested = found.endswith("]") or found.startswith(("STRUCT", "MAP", "UNION"))
    if kind == "text":
        # Numbers with a fraction make no ids: 17850 becomes "17850.0" and matches nothing.
        return "NULL::VARCHAR" if nested or found in ("FLOAT", "DOUBLE") else f"nullif({value}::VARCHAR, '')"
    if kind == "time":
        if not found.startswith(("TIMESTAMP", "VARCHAR", _WRITTEN)):
            return "NULL::BIGINT"
        moment = f"try_cast({value} AS TIMESTAMPTZ)"
        return f"CASE WHEN isfinite({moment}) THEN epoch_us({moment}) END"
    if nested or found.startswith(("TIMESTAMP", "DATE", "TIME")):
        return "NULL::DOUBLE" if kind == "float" else "NULL::BIGINT"
    number = f"try_cast({value} AS DOUBLE)"
    if kind == "float":
        return f"CASE WHEN isfinite({number}) THEN {number} END"
    if found == _WRITTEN:
        number = f"coalesce({number}, try_cast({value} AS BOOLEAN)::DOUBLE)"
    return f"CASE WHEN isfinite({number}) AND {number} = floor({number}) THEN try_cast({number} AS BIGINT) END"


def _rules_of_values(table: str, types: dict[str, str]) -> Iterator[_Rule]:
    """What is wrong with single values as they were written."""
    for name, found in types.items():
        where, value = f"{table}.{name}", f'"{name}"'
        if name in COLUMNS[table]:
            kind = COLUMN_TYPES[name]
            typed, empty = _typed(name, types), f"({value} IS NULL OR {value}::VARCHAR = '')"
            money = name in _MONEY.get(table, ())
            expected = _MINOR_UNITS if money else _EXPECTED[kind]
            yield _Rule(where, f"values are not {expected}", f"NOT {empty} AND {typed} IS NULL", value)
            if money and found == _WRITTEN:
                pointed = f"regexp_matches({value}, '{_POINTED}')"
                yield _Rule(where, f"amounts are written with a decimal point; {_POINT_ADVICE}", pointed, value, warning=True)
            if name in REQUIRED[table]:
                yield _Rule(where, "rows without a value in a required column", empty)
            if kind == "time" and found != "TIMESTAMP WITH TIME ZONE":
                naive = "true" if found.startswith("TIMESTAMP") else f"NOT regexp_matches({value}, '{_OFFSET}')"
                yield _Rule(where, "times have no zone", f"{typed} IS NOT NULL AND {naive}", value)
        elif name.startswith(SIGNAL_PREFIX) and table == "claims" and not _is_signal(found):
            yield _Rule(where, f"values are neither numbers nor texts but {found}", f"{value} IS NOT NULL", value)


def _is_signal(found: str) -> bool:
    return not (found.endswith("]") or found.startswith(("STRUCT", "MAP", "UNION", "TIME", "DATE", "INTERVAL", "BLOB")))


def _rules_of_rows(table: str) -> Iterator[_Rule]:
    """What is wrong with single values once they are read."""
    for name in COLUMNS[table]:
        where = f"{table}.{name}"
        if COLUMN_TYPES[name] == "time":
            outside = f"{name} < {_EARLIEST} OR {name} >= {_LATEST}"
            yield _Rule(where, "times before 1990 or after 2100", outside, f"make_timestamp({name})")
        if table == "claims" and name in _HAPPENED:
            later = f"{name} > submitted_at"
            yield _Rule(where, "times lie after their claim and count as unknown", later, f"make_timestamp({name})", warning=True)
        if table == "claims" and name in _CODES:
            unknown = f"NOT regexp_full_match({name}, '(({'|'.join(_codes())})( |$))*')"
            yield _Rule(where, "lists hold words that are no guarantees and promise nothing", unknown, name, warning=True)
        if name in _WORDS:
            unknown = f"{name} NOT IN {_WORDS[name]}"
            yield _Rule(where, "words are not in the vocabulary and count as unknown", unknown, name, warning=True)
        if name in _MONEY.get(table, ()):
            yield _Rule(where, "amounts are negative", f"{name} < 0", name)
            yield _Rule(where, f"amounts are above {MAX_MONEY:,} minor units", f"{name} > {MAX_MONEY}", name)
    if table == "labels":
        yield _Rule("labels.label", f"words are none of {', '.join(LABELS)}", f"label NOT IN {LABELS}", "label")
        outside = "NOT (audit_probability > 0 AND audit_probability <= 1)"
        yield _Rule("labels.audit_probability", "values are not above 0 and up to 1", outside, "audit_probability")


def _rules_between_tables() -> Iterator[tuple[_Rule, str, str]]:
    # An id that occurs twice is reported as such; each row of the other table is still one offender.
    labels = "labels JOIN (SELECT claim_id, min(submitted_at) AS submitted_at FROM claims GROUP BY 1) AS claims USING (claim_id)"
    facts = ", ".join(f"min({name}) AS {name}" for name in ("buyer_id", "merchant_id", "paid_at"))
    orders = f"claims JOIN (SELECT order_id, {facts} FROM orders GROUP BY 1) AS orders USING (order_id)"
    early = "labels.known_at < claims.submitted_at"
    yield _Rule("labels.known_at", "labels are known before their claim was submitted", early), labels, "claims"
    unknown = _Rule("labels.claim_id", "labels are for claims that do not exist", "true")
    yield unknown, "labels ANTI JOIN claims USING (claim_id)", "claims"
    other = "claims.buyer_id <> orders.buyer_id"
    yield _Rule("claims.order_id", "claims are about an order of another buyer", other), orders, "orders"
    other = "claims.merchant_id <> orders.merchant_id"
    yield _Rule("claims.order_id", "claims are about an order at another merchant", other), orders, "orders"
    unpaid = "claims.submitted_at < orders.paid_at"
    early = _Rule("claims.submitted_at", "claims were made before their order was paid", unpaid, warning=True)
    yield early, orders, "orders"
    unknown = _Rule("claims.order_id", "claims are about orders that do not exist", "true", warning=True)
    yield unknown, "(FROM claims WHERE order_id IS NOT NULL) AS claims ANTI JOIN orders USING (order_id)", "orders"


def _apply(
    db: duckdb.DuckDBPyConnection,
    source: str,
    key: str,
    rules: list[_Rule],
    problems: list[Problem],
    warnings: list[Problem],
) -> None:
    """Count the offenders of all rules in one pass."""
    if not rules:
        return
    found = [
        f"""count(*) FILTER ({rule.when}), min({key}) FILTER ({rule.when}),
        arg_min(({rule.value})::VARCHAR, coalesce({key}, '')) FILTER ({rule.when})"""
        for rule in rules
    ]
    row = _row(db, f"SELECT {', '.join(found)} FROM {source}")
    for place, rule in enumerate(rules):
        count, example, value = row[3 * place : 3 * place + 3]
        if count:
            shown = f"{value!r} in " if value is not None else ""
            example = f" (for example {shown}{example!r})" if example is not None else f" ({shown}no id)"
            (warnings if rule.warning else problems).append(Problem(rule.where, f"{count:,} {rule.detail}{example}"))


def _codes() -> list[str]:
    """Every guarantee of every policy that this version ships."""
    return sorted({code for policy in load_policies().all for code in policy.guarantees})
