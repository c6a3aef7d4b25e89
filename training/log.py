"""`log`: the event log of a history as one file, for the service to load its past from."""

import argparse
from pathlib import Path

import ibis
from ibis import _

from risk.features import load_features
from training.arguments import add_history, add_moment, refuse_file
from training.features import event_log
from training.history import open_history

EVENT_CODES = {"order": "o", "claim": "c", "label": "l"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_history(parser)
    add_moment(parser, "--until", help="leave out what became known from this moment on (default: nothing)")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")


def run(args: argparse.Namespace) -> None:
    """Write the log in order of time."""
    refuse_file("--out", args.out)
    partial = args.out.with_suffix(".partial")
    with open_history(args.history) as history:
        log = event_log(history, load_features())
        log = log.filter(_.known_at < args.until) if args.until is not None else log
        code = log.event.cases(*EVENT_CODES.items(), else_=ibis.null("string"))
        ordered = log.mutate(event=code).drop("row").order_by(["known_at", "event", "claim_id"])
        ordered.to_parquet(partial)
        events = int(log.count().to_pyarrow().as_py())
    partial.replace(args.out)
    print(f"{events:,} events: {args.out}")
