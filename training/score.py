"""`score`: what the service would have answered, claim for claim, over a stretch of history."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

from risk.bundle import MODEL, Bundle, signing_key
from risk.errors import InputError, Problem
from risk.features.cover import COLUMNS
from risk.features.definition import NUMBERS, TEXTS, TIMES
from risk.gates import all_gates, first_failed, left_for, load_rules
from risk.order import UNKNOWN, OrderAccount
from risk.policy.cover import judge_whole
from risk.policy.definition import load_policies
from risk.policy.request import request_of_facts
from risk.promise.appetite import Appetite, load_appetite, read_appetite
from risk.promise.certificate import standing
from training.arguments import add_history, add_moment, refuse_file
from training.dataset import rows_until, scored_claims
from training.history import History, open_history

_SCHEMA = pa.schema(
    [
        ("claim_id", pa.string()),
        ("submitted_at", pa.timestamp("us", tz="UTC")),
        ("score", pa.float64()),
        ("decision", pa.string()),
        ("eligible", pa.bool_()),
        ("guarantee", pa.string()),
        ("segment", pa.string()),
    ]
)
_ORIGIN = b"risk.scores"
PROMISED = ("promise", "score", "switch")
"""Gates that depend on a bundle and its certificate; a claim that passes all others is one that a certificate is about."""


@dataclass(frozen=True)
class Origin:
    """What a file of scores comes from; it lies in the file's metadata."""

    model_version: str
    model: str
    """SHA-256 of the model."""
    population: str
    """The segments, as `Appetite.population` names them."""
    policies: dict[str, str]
    """Version and digest of each policy."""
    start: int
    end: int
    """The stretch, [start, end) in microseconds: every claim submitted in it has a row."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_history(parser)
    parser.add_argument("--bundle", type=Path, required=True)
    add_moment(parser, "--from", help="first day of the stretch", required=True)
    add_moment(parser, "--to", help="first day after the stretch", required=True)
    parser.add_argument("--appetite", type=Path, help="TOML file (default: the one that ships)")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")


def run(args: argparse.Namespace) -> None:
    """Score and write."""
    refuse_file("--out", args.out)
    bundle = Bundle.load(args.bundle, signing_key())
    appetite = load_appetite() if args.appetite is None else read_appetite(args.appetite)
    start, end = getattr(args, "from"), args.to
    with open_history(args.history) as history:
        scores = decided_claims(history, bundle, start, end, appetite)
    write_scores(args.out, scores, origin_of(bundle, appetite, start, end))
    approved = (scores["decision"] == "approve").mean()
    print(f"{len(scores):,} claims scored with {bundle.version}, {approved:.1%} approved at once: {args.out}")


def origin_of(bundle: Bundle, appetite: Appetite, start: int, end: int) -> Origin:
    """What scores of [start, end) (microseconds) by a bundle come from."""
    return Origin(
        model_version=bundle.version,
        model=bundle.manifest["files"][MODEL],
        population=appetite.population,
        policies={policy.version: policy.digest for policy in load_policies().all},
        start=start,
        end=end,
    )


def write_scores(file: Path, scores: pd.DataFrame, origin: Origin) -> None:
    """Write the columns of `decided_claims`, whole or not at all."""
    table = pa.Table.from_pandas(scores, schema=_SCHEMA, preserve_index=False)
    partial = file.with_suffix(".partial")
    try:
        pq.write_table(table.replace_schema_metadata({_ORIGIN: json.dumps(asdict(origin)).encode()}), partial, compression="zstd")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def origin_in(file: Path) -> Origin:
    """What a file of scores comes from; an InputError where it is none, or one of before this was written down."""
    try:
        schema = pq.read_schema(file)
        origin = Origin(**json.loads((schema.metadata or {})[_ORIGIN]))
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError([Problem(str(file), f"cannot be read: {error}")]) from error
    except (KeyError, ValueError, TypeError) as error:
        raise InputError([Problem(str(file), "does not say what it comes from: `training score` writes a file that does")]) from error
    if missing := [name for name in _SCHEMA.names if name not in schema.names]:
        raise InputError([Problem(f"{file}: {name}", "column is missing") for name in missing])
    return origin


def decided_claims(history: History, bundle: Bundle, start: int, end: int, appetite: Appetite) -> pd.DataFrame:
    """A row for each claim submitted in [start, end) (microseconds).

    Columns: claim_id, submitted_at, score, decision; `eligible`, whether it passed every gate that asks for no bundle; the
    guarantee that covers it best and the segment that it belongs to, or missing.
    """
    scored = scored_claims(history, bundle, start, end)[["claim_id", "submitted_at", "score"]]
    facts = _facts(history, rows_until(history, start), rows_until(history, end))
    rules, policies, orders = load_rules(), load_policies(), dict[str | None, OrderAccount]()
    found = []
    for row, score in zip(facts.to_pylist(), scored["score"].tolist(), strict=True):
        order = orders.get(row["order_id"], UNKNOWN)
        left = left_for(row, order)
        whole = judge_whole(policies.at(row["paid_at"]), request_of_facts(row, currency=row["currency"]))
        judgement = whole.within(None if left is None else max(left, 0), order.asked(_items(row)))
        guarantee = judgement.best.guarantee if judgement.best else None
        segment = appetite.segment_of(row, guarantee)
        gates = all_gates(
            row,
            order=order,
            judgement=judgement,
            standing=standing(bundle.certificate, segment, appetite, row["as_of"]),
            segment=segment.name if segment else None,
            score=score,
            largest=appetite.largest_in(row["currency"]),
            now=row["as_of"],
            rules=rules,
        )
        approved = first_failed(gates) is None
        eligible = segment is not None and all(gate.passed for gate in gates if gate.gate not in PROMISED)
        if row["order_id"] is not None:
            orders[row["order_id"]] = order.after(row, _items(row), approved=approved)
        found.append(("approve" if approved else "review", eligible, guarantee, segment.name if segment else None))
    columns = zip(*found, strict=True) if found else ((), (), (), ())
    return scored.assign(**dict(zip(("decision", "eligible", "guarantee", "segment"), map(list, columns), strict=True)))


def _items(row: Mapping[str, Any]) -> list[str]:
    """The principal item, the only one that a history knows."""
    return [row["item_id"]] if row["item_id"] is not None else []


def _facts(history: History, first: int, last: int) -> pa.Table:
    claims = history.claims.filter((_.row >= first) & (_.row < last)).order_by("row")
    return claims.select(*dict.fromkeys(("order_id", "item_id", "buyer_id", "merchant_id", "currency", "as_of", *TIMES, *NUMBERS, *TEXTS, *COLUMNS))).to_pyarrow()
