"""`evaluate`: judge a bundle on a later stretch of history, as one HTML page and as JSON."""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from risk.bundle import Bundle, signing_key
from risk.errors import InputError, Problem
from training.arguments import add_history, add_moment, file_problems
from training.dataset import scored_claims
from training.history import open_history
from training.report import Figures, Gain, Settings, Subject, as_json, group_gain, judge, render_html, write_whole
from training.report.words import number, percent


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the bundle")
    add_history(parser)
    add_moment(parser, "--from", help="first day of the stretch", required=True)
    add_moment(parser, "--to", help="first day after the stretch", required=True)
    parser.add_argument("--report", type=Path, required=True, help="HTML file to write")
    parser.add_argument("--json", type=Path, help="JSON file to write, with the same figures")
    parser.add_argument("--top-k", type=int, default=50, help="claims that reviewers can look at in a day (default 50)")
    parser.add_argument("--bootstrap", type=int, default=500, help="resamples behind each interval (default 500)")
    parser.add_argument("--seed", type=int, default=1, help="of the resamples (default 1)")


def run(args: argparse.Namespace) -> None:
    """Score the stretch, judge it, write the report."""
    start, end = getattr(args, "from"), args.to
    _refuse(args, start, end)
    bundle = Bundle.load(args.bundle, signing_key())
    _tell(f"scoring with bundle {bundle.version}")
    with open_history(args.history) as history:
        frame = scored_claims(history, bundle, start, end)
    settings = Settings(top_k=args.top_k, resamples=args.bootstrap, seed=args.seed)
    figures = judge(frame, _subject(bundle, args.history, start, end), _gain(bundle), settings, _tell)
    _tell("drawing the report")
    plain = as_json(figures)
    write_whole(args.report, render_html(plain))
    if args.json:
        write_whole(args.json, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
    for warning in figures.warnings:
        _tell(f"warning: {warning}")
    print(_outcome(figures))
    print(f"report: {args.report}" + (f", figures: {args.json}" if args.json else ""))


def _refuse(args: argparse.Namespace, start: int, end: int) -> None:
    """Everything that is wrong with the arguments, before anything slow begins."""
    problems = []
    if start >= end:
        problems.append(
            Problem("--from", "the stretch is empty: --from has to be before --to, which is not part of it")
        )
    problems += [
        Problem(name, f"{least} or more is expected")
        for name, value, least in (
            ("--top-k", args.top_k, 1),
            ("--bootstrap", args.bootstrap, 20),
            ("--seed", args.seed, 0),
        )
        if value < least
    ]
    problems += file_problems({"--report": args.report, "--json": args.json})
    if problems:
        raise InputError(problems)


def _subject(bundle: Bundle, history: Path, start: int, end: int) -> Subject:
    return Subject(
        bundle=bundle.version,
        trained_until=str(bundle.manifest.get("trained_until", "unknown")),
        threshold=bundle.threshold,
        history=history.resolve().name,
        start=_iso(start),
        end=_iso(end),
    )


def _gain(bundle: Bundle) -> tuple[Gain, ...]:
    return group_gain(bundle.columns, np.asarray(bundle.booster.feature_importance("gain"), dtype=np.float64))


def _outcome(figures: Figures) -> str:
    lines = list(figures.summary)
    if found := figures.main.discrimination:
        lines.append(
            f"AUC {number(found.auc.value)} ({number(found.auc.low)} to {number(found.auc.high)}), average precision "
            f"{number(found.average_precision.value)}, recall at 1 % false positives "
            f"{percent(found.recall_at_1_percent.value)}, at 5 % {percent(found.recall_at_5_percent.value)}"
        )
    return "\n".join(lines)


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1_000_000, UTC).isoformat()


def _tell(what: str) -> None:
    print(what, file=sys.stderr)
