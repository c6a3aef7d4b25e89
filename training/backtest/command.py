"""`backtest`: what would have been decided over a stretch of history, for whom, and what an owner could choose instead."""

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow.parquet as pq
from pyarrow import ArrowException

from risk.bundle import Bundle, signing_key
from risk.errors import BundleError, HistoryError, InputError, Problem, SettingError
from risk.promise.appetite import Appetite, load_appetite, unknown_guarantees
from training.arguments import add_history, add_moment, file_problems
from training.backtest.figures import Figures, Outcome, Settings, Subject, Way
from training.backtest.judging import policies_of
from training.backtest.outcome import outcome_of
from training.backtest.replay import Prepared, Replay, Rules, as_decided, prepare, replay, rules_of, tolerated
from training.backtest.stretch import Judged, Loaded, Stretch, load
from training.backtest.tradeoff import tradeoff
from training.backtest.words import caveats, loud, summary, table, warnings
from training.check import refused
from training.history import REQUIRED, open_history, table_file
from training.metrics import effective
from training.report.render import plain, write_whole

HISTORY = "history"
"""`--against history`: what the history itself decided."""
Files = tuple[Path, ...]
_T = TypeVar("_T")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_history(parser)
    add = parser.add_argument
    add("--bundle", type=Path, required=True, help="folder of the bundle that decides")
    add_moment(parser, "--from", help="first day of the stretch", required=True)
    add_moment(parser, "--to", help="first day after the stretch", required=True)
    add("--policy", type=Path, action="append", default=[], metavar="FILE", help="policy instead of the shipped ones; may be repeated")
    add("--appetite", type=Path, metavar="FILE", help="appetite instead of the shipped one")
    add("--against", metavar="BUNDLE", help="what to compare with: another bundle, or `history`, its own decisions (the default where it has any)")
    add("--against-policy", type=Path, action="append", default=[], metavar="FILE", help="policy of the comparison (shipped ones)")
    add("--against-appetite", type=Path, metavar="FILE", help="appetite of the comparison (the shipped one)")
    add("--uncertified", action="store_true", help="where a bundle has no certificate, decide by a plain threshold")
    add("--threshold", type=float, metavar="SCORE", help="with --uncertified: this one, whatever the bundle says")
    add("--oracle", type=Path, metavar="FILE", help="a simulator's truth, set beside the estimates; decides nothing")
    add("--report", type=Path, metavar="FILE", help="HTML file to write")
    add("--json", type=Path, metavar="FILE", help="JSON file to write, with the same figures")
    add("--bootstrap", type=int, default=500, metavar="N", help="resamples behind each interval (500)")
    add("--seed", type=int, default=1, metavar="N", help="of the draws and resamples (1)")


def run(args: argparse.Namespace) -> None:
    """Check, replay, judge, write."""
    asked = _asked(args)
    figures = backtest(args.history, getattr(args, "from"), args.to, asked, oracle=args.oracle, settings=Settings(args.bootstrap, args.seed))
    settled = as_json(figures)
    if args.report:
        from training.backtest.page import render_html

        _tell("drawing the report")
        write_whole(args.report, render_html(settled))
    if args.json:
        write_whole(args.json, json.dumps(settled, indent=2, ensure_ascii=False) + "\n")
    for warning in figures.warnings:
        _tell(f"warning: {warning}")
    print("\n".join([*filter(None, [figures.loud.upper()]), *figures.summary, "", table(figures)]))
    written = ", ".join(f"{name}: {file}" for name, file in (("report", args.report), ("figures", args.json)) if file)
    if written:
        print(f"\n{written}")


def as_json(figures: Figures) -> dict[str, object]:
    """The figures as JSON values; what cannot be said is null."""
    settled: dict[str, object] = plain(dataclasses.asdict(figures))
    return settled


@dataclass(frozen=True)
class Contender:
    """One way to decide. Without a bundle it is what the history did, with the segments and reviewers of `appetite`."""

    name: str
    bundle: Bundle | None
    files: Files
    appetite: Appetite
    plain: float | None = None
    """The threshold for all segments where no certificate is asked."""


@dataclass(frozen=True)
class Asked:
    """What is replayed, and what it is compared with."""

    own: Contender
    against: Contender | None
    insisted: bool = False
    """Whether the history was asked for by name."""


def _asked(args: argparse.Namespace) -> Asked:
    """Everything that is wrong with the arguments at once, before anything slow begins."""
    problems = _refused(args)
    own, other = _read_contenders(args, problems)
    if problems:
        raise InputError(problems)
    assert own is not None
    return Asked(own, other, insisted=args.against == HISTORY)


def _refused(args: argparse.Namespace) -> list[Problem]:
    """What can be seen without reading a bundle, a policy or an appetite."""
    problems = []
    if getattr(args, "from") >= args.to:
        problems.append(Problem("--from", "the stretch is empty: --from has to be before --to, which is not part of it"))
    for name, value, least in (("--bootstrap", args.bootstrap, 20), ("--seed", args.seed, 0)):
        if value < least:
            problems.append(Problem(name, f"{least} or more is expected"))
    if args.threshold is not None:
        if not args.uncertified:
            problems.append(Problem("--threshold", "needs --uncertified: the service decides by its certificate alone"))
        if not 0.0 <= args.threshold <= 1.0:
            problems.append(Problem("--threshold", f"{args.threshold:g} is no probability"))
    return [*problems, *_file_problems(args)]


def _file_problems(args: argparse.Namespace) -> list[Problem]:
    problems = file_problems({"--report": args.report, "--json": args.json})
    if args.report and args.json and args.report.resolve() == args.json.resolve():
        problems.append(Problem("--json", "is the same file as --report"))
    missing = [name for name in REQUIRED if table_file(args.history, name) is None]
    problems += [Problem("--history", f"no {name}.parquet or {name}.csv in {args.history}") for name in missing]
    if args.oracle:
        problems += _oracle_problems(args.oracle)
    if args.against == HISTORY:
        if table_file(args.history, "decisions") is None:
            problems.append(Problem("--against", f"{args.history} has no table of decisions"))
        if args.against_policy:
            problems.append(Problem("--against-policy", "what the history decided knows no policy of ours"))
    return problems


def _oracle_problems(file: Path) -> list[Problem]:
    try:
        names = pq.read_schema(file).names
    except (OSError, ArrowException) as error:
        return [Problem("--oracle", f"{file} cannot be read: {error}")]
    return [Problem("--oracle", f"{file} has no column {name}") for name in ("claim_id", "abuse") if name not in names]


def _read_contenders(args: argparse.Namespace, problems: list[Problem]) -> tuple[Contender | None, Contender | None]:
    bundle = _read(problems, "--bundle", lambda: Bundle.load(args.bundle, signing_key()))
    files = tuple(args.policy)
    appetite = _appetite(problems, "--appetite", args.appetite, "--policy", files)
    against_files = tuple(args.against_policy)
    other: Bundle | None = None
    against = args.against
    if against is None and (against_files or args.against_appetite):
        # One appetite or policy against another, by the same bundle.
        against, other = str(args.bundle), bundle
    elif against is None and table_file(args.history, "decisions") is not None:
        against = HISTORY
    elif against not in (None, HISTORY):
        other = _read(problems, "--against", lambda: Bundle.load(Path(against), signing_key()))
    named = "--against-appetite"
    its = None
    if args.against_appetite or against not in (None, HISTORY):
        its = _appetite(problems, named, args.against_appetite, "--against-policy", against_files)
    if problems:
        return None, None
    assert bundle is not None
    assert appetite is not None
    own = Contender("as asked", bundle, files, appetite, _plain_threshold(args, bundle))
    if against is None:
        return own, None
    if against == HISTORY:
        return own, Contender("the history's own decisions", None, files, its or appetite)
    assert other is not None
    assert its is not None
    return own, Contender("the comparison", other, against_files, its, _plain_threshold(args, other))


def _plain_threshold(args: argparse.Namespace, bundle: Bundle) -> float | None:
    if not args.uncertified:
        return None
    if args.threshold is not None:
        return float(args.threshold)
    return None if bundle.certificate is not None else bundle.threshold


def _appetite(problems: list[Problem], name: str, file: Path | None, policy: str, files: Files) -> Appetite | None:
    appetite = _read(problems, name, lambda: load_appetite(file))
    policies = _read(problems, policy, lambda: policies_of(files))
    if appetite is not None and policies is not None:
        problems += [Problem(f"{name} {problem.where}", problem.detail) for problem in unknown_guarantees(appetite, policies)]
    return appetite


def _read(problems: list[Problem], name: str, read: Callable[[], _T]) -> _T | None:
    """What `read` gives; where it cannot, its problems are added."""
    try:
        return read()
    except (SettingError, InputError) as error:
        problems += [Problem(f"{name} {problem.where}", problem.detail) for problem in error.problems]
    except BundleError as error:
        problems.append(Problem(name, str(error)))
    except OSError as error:
        problems.append(Problem(name, f"{error.filename} cannot be read: {error.strerror}"))
    return None


def backtest(folder: Path, start: int, end: int, asked: Asked, *, oracle: Path | None, settings: Settings) -> Figures:
    """Replay the claims submitted in [start, end) (microseconds), and judge what came of it.

    Raises HistoryError where there is no such claim, or the history is one that `check` refuses.
    """
    _tell("checking the history")
    if problems := refused(folder):
        raise HistoryError(problems)
    contenders = [asked.own, *([asked.against] if asked.against else [])]
    pairs = [(contender.bundle or asked.own.bundle, contender.files) for contender in contenders]
    with open_history(folder) as history:
        _tell("reading the stretch, with all values as of each claim")
        loaded = load(history, start, end, [(bundle, files) for bundle, files in pairs if bundle], oracle=oracle, seed=settings.seed)
    return judged(loaded, folder.resolve().name, start, end, asked, settings)


def judged(loaded: Loaded, name: str, start: int, end: int, asked: Asked, settings: Settings) -> Figures:
    """All figures of a stretch that was read, of a history of that name."""
    contenders = [asked.own, *([asked.against] if asked.against else [])]
    if asked.against is not None and asked.against.bundle is None and loaded.stretch.decided is None:
        if asked.insisted:
            raise HistoryError([Problem("decisions.decision", "no claim of the stretch was approved: there is nothing to compare with")])
        contenders = contenders[:1]
    _tell(f"replaying {len(loaded.stretch):,} claims")
    played = [_play(loaded, contender, asked.own) for contender in contenders]
    outcomes = tuple(
        _outcome(loaded, contender, *part, start=start, end=end, settings=settings)
        for contender, part in zip(contenders, played, strict=True)
    )
    own, rules, prepared = played[0]
    rows = tradeoff(loaded.stretch, rules, prepared, own, start=start, end=end, resamples=settings.resamples, seed=settings.seed, tell=_tell)
    subject = _subject(loaded.stretch, name, start, end)
    promise = asked.own.appetite.promise
    return Figures(
        settings=settings,
        subject=subject,
        alpha=promise.alpha,
        delta=promise.delta,
        loud=loud(outcomes),
        summary=summary(subject, outcomes, tolerated(rules, loaded.stretch.amount, own.approved)),
        warnings=warnings(subject, outcomes),
        caveats=caveats(subject, asked.own.appetite),
        outcomes=outcomes,
        tradeoff=rows,
    )


def _play(loaded: Loaded, contender: Contender, own: Contender) -> tuple[Replay, Rules, Prepared]:
    bundle = contender.bundle or own.bundle
    assert bundle is not None
    judged, score = loaded.judged[contender.files], loaded.scores[bundle.version, contender.files]
    certificate = bundle.certificate if contender.bundle is not None else None
    rules = rules_of(loaded.stretch, judged, score, contender.appetite, certificate, contender.plain)
    prepared = prepare(loaded.stretch, rules, quotas=contender.bundle is not None)
    if contender.bundle is None:
        return as_decided(loaded.stretch, contender.appetite), rules, prepared
    return replay(loaded.stretch, rules, prepared), rules, prepared


def _outcome(
    loaded: Loaded, contender: Contender, played: Replay, rules: Rules, prepared: Prepared, *, start: int, end: int, settings: Settings
) -> Outcome:
    bundle = contender.bundle
    return outcome_of(
        _way(contender, loaded.judged[contender.files]),
        played,
        rules,
        prepared.gate,
        None if bundle is None else bundle.certificate,
        plain=contender.plain,
        start=start,
        end=end,
        resamples=settings.resamples,
        seed=settings.seed,
    )


def _way(contender: Contender, judged: Judged) -> Way:
    bundle, without = contender.bundle, float(np.mean([version is None for version in judged.policy]))
    if bundle is None:
        return Way(contender.name, "history", "", "", (), contender.appetite.version, "", "", without)
    certificate = bundle.certificate
    kind = "uncertified" if contender.plain is not None else "nothing" if certificate is None else "certificate"
    return Way(
        name=contender.name,
        kind=kind,
        bundle=bundle.version,
        trained_until=str(bundle.manifest.get("trained_until", "")),
        policies=tuple(policy.version for policy in policies_of(contender.files).all),
        appetite=contender.appetite.version,
        certificate="" if certificate is None else certificate.certificate_id,
        certified_on="" if certificate is None else _iso(certificate.data.end),
        without_policy=without,
    )


def _subject(stretch: Stretch, name: str, start: int, end: int) -> Subject:
    truth = stretch.truth
    drawn = np.isfinite(truth.probability)
    unlabelled = 0 if stretch.decided is None else int(np.sum(~stretch.decided & ~truth.known))
    return Subject(
        history=name,
        start=_iso(start),
        end=_iso(end),
        claims=len(stretch),
        money=float(stretch.amount.sum()),
        days=math.ceil((end - start) / 86_400_000_000),
        currencies=tuple(stretch.currencies),
        design=truth.design,
        labelled=truth.labelled,
        drawn=int(drawn.sum()),
        open=int(truth.open.sum()),
        unlabelled_reviews=unlabelled,
        effective=effective(truth.weight[truth.counted]),
        oracle=truth.oracle is not None,
    )


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1_000_000, UTC).isoformat()


def _tell(what: str) -> None:
    print(what, file=sys.stderr)
