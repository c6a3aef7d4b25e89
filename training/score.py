"""`score`: what the service would have answered, claim for claim, over a stretch of history."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from ibis import _

from risk.bundle import Bundle, signing_key
from risk.features.cover import COLUMNS
from risk.features.definition import NUMBERS, TEXTS, TIMES
from risk.gates import all_gates, first_failed, left_for, load_rules
from risk.order import UNKNOWN, OrderAccount
from risk.policy.cover import judge_whole
from risk.policy.definition import load_policies
from risk.policy.request import request_of_facts
from risk.promise.appetite import load_appetite
from risk.promise.certificate import standing
from training.arguments import add_history, add_moment, refuse_file
from training.dataset import rows_until, scored_claims
from training.history import History, open_history


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_history(parser)
    parser.add_argument("--bundle", type=Path, required=True)
    add_moment(parser, "--from", help="first day of the stretch", required=True)
    add_moment(parser, "--to", help="first day after the stretch", required=True)
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")


def run(args: argparse.Namespace) -> None:
    """Score and write."""
    refuse_file("--out", args.out)
    bundle = Bundle.load(args.bundle, signing_key())
    with open_history(args.history) as history:
        scores = decided_claims(history, bundle, getattr(args, "from"), args.to)
    partial = args.out.with_suffix(".partial")
    scores.to_parquet(partial, index=False)
    partial.replace(args.out)
    approved = (scores["decision"] == "approve").mean()
    print(f"{len(scores):,} claims scored with {bundle.version}, {approved:.1%} approved at once: {args.out}")


def decided_claims(history: History, bundle: Bundle, start: int, end: int) -> pd.DataFrame:
    """claim_id, submitted_at, score, decision of each claim submitted in [start, end) (microseconds)."""
    scored = scored_claims(history, bundle, start, end)[["claim_id", "submitted_at", "score"]]
    facts = _facts(history, rows_until(history, start), rows_until(history, end))
    rules, policies, orders = load_rules(), load_policies(), dict[str | None, OrderAccount]()
    appetite = load_appetite()
    decisions = []
    for row, score in zip(facts.to_pylist(), scored["score"].tolist(), strict=True):
        order = orders.get(row["order_id"], UNKNOWN)
        left = left_for(row, order)
        whole = judge_whole(policies.at(row["paid_at"]), request_of_facts(row, currency=row["currency"]))
        judgement = whole.within(None if left is None else max(left, 0), order.asked(_items(row)))
        segment = appetite.segment_of(row, judgement.best.guarantee if judgement.best else None)
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
        if row["order_id"] is not None:
            orders[row["order_id"]] = order.after(row, _items(row), approved=approved)
        decisions.append("approve" if approved else "review")
    return scored.assign(decision=decisions)


def _items(row: Mapping[str, Any]) -> list[str]:
    """The principal item, the only one that a history knows."""
    return [row["item_id"]] if row["item_id"] is not None else []


def _facts(history: History, first: int, last: int) -> pa.Table:
    claims = history.claims.filter((_.row >= first) & (_.row < last)).order_by("row")
    return claims.select(*dict.fromkeys(("order_id", "item_id", "buyer_id", "merchant_id", "currency", "as_of", *TIMES, *NUMBERS, *TEXTS, *COLUMNS))).to_pyarrow()
