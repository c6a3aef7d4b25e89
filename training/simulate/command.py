"""`python -m training simulate`: write a made-up history, and its truth beside it."""

import argparse
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from risk.errors import InputError, Problem

if TYPE_CHECKING:
    # Its module imports NumPy.
    from training.simulate.engine import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the history; new or empty")
    add("--claims", type=int, default=50_000, metavar="N", help="claims wanted, reached within about 2 %% (50000)")
    add("--seed", type=int, default=7, metavar="N", help="the same seed gives the same bytes (7)")
    add("--start", type=date.fromisoformat, default=date(2025, 6, 1), metavar="DATE", help="first day (2025-06-01)")
    add("--days", type=int, default=548, metavar="N", help="length of the history in days (548)")
    add("--oracle", type=Path, metavar="FILE", help="file for the truth, outside the folder (OUT.oracle.parquet)")
    add("--hide-approved", action="store_true", help="hide labels of what an earlier champion approved, but audits")
    add("--new-typology", action="append", default=[], metavar="NAME@DATE", help="this abuse exists only from that day")
    add("--report", type=Path, metavar="FILE", help="draw the marginals beside published figures, as one HTML page")
    add("--report-only", action="store_true", help="simulate nothing: draw the report of the history in --out")
    add("--force", action="store_true", help="replace an earlier history in --out")


def run(args: argparse.Namespace) -> None:
    """Simulate, print what was written, and draw the report where one is asked for."""
    # NumPy, PyArrow and Matplotlib are heavy: `--help` and refused arguments do without.
    oracle = args.oracle or args.out.parent / f"{args.out.name}.oracle.parquet"
    if not args.report_only:
        _check(args, oracle)
        from training.simulate.history import write_history

        summary = write_history(_settings(args), args.out, oracle)
        print(summary)
    elif not args.report:
        raise InputError([Problem("--report-only", "needs --report FILE")])
    if args.report:
        from training.simulate.report import write_report

        write_report(args.out, oracle, args.report)
        print(f"report       {args.report}")


def _check(args: argparse.Namespace, oracle: Path) -> None:
    """Refuse with every problem at once."""
    problems = []
    if args.claims < 100:
        problems.append(Problem("--claims", "has to be 100 or more"))
    if args.seed < 0:
        problems.append(Problem("--seed", "has to be 0 or more"))
    if args.days < 28:
        problems.append(Problem("--days", "has to be 28 or more: labels take weeks"))
    out, inside = args.out.resolve(), oracle.resolve()
    if out == inside or out in inside.parents:
        problems.append(Problem("--oracle", "lies inside the history; training code must not find it there"))
    problems += _folder_problems(args.out, args.force)
    problems += _typology_problems(args.new_typology)
    if problems:
        raise InputError(problems)


def _folder_problems(out: Path, force: bool) -> list[Problem]:
    """A folder is replaced only when asked, and only if nothing but a history is in it."""
    if not out.exists():
        return []
    if not out.is_dir():
        return [Problem("--out", f"{out} is not a folder")]
    names = {path.name for path in out.iterdir()}
    if not names:
        return []
    if not force:
        return [Problem("--out", f"{out} is not empty; --force replaces a history")]
    strange = sorted(name for name in names if not name.endswith(".parquet"))
    if strange:
        return [Problem("--out", f"{out} holds other things than a history ({', '.join(strange[:3])}); not replaced")]
    return []


def _typology_problems(asked: list[str]) -> list[Problem]:
    from training.simulate.parameters import load

    known, problems = load().typology, []
    for text in asked:
        name, _, day = text.partition("@")
        if name not in known:
            problems.append(Problem("--new-typology", f"{name!r} is none of {', '.join(known)}"))
        try:
            date.fromisoformat(day)
        except ValueError:
            problems.append(Problem("--new-typology", f"{text!r} has to be NAME@DATE, as wardrobing@2026-01-01"))
    return problems


def _settings(args: argparse.Namespace) -> "Settings":
    from training.simulate.engine import Settings

    pairs = [text.split("@") for text in args.new_typology]
    return Settings(
        claims=args.claims,
        seed=args.seed,
        start=args.start,
        days=args.days,
        hide_approved=args.hide_approved,
        new_typologies=tuple((name, date.fromisoformat(day)) for name, day in pairs),
    )
