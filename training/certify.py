"""`certify`: test up to which score the promise about abuse holds, and write what was found into the bundle."""

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import ibis
from ibis import _
from ibis.expr.types import Table

from risk.bundle import MODEL, Bundle, signing_key
from risk.errors import BundleError, HistoryError, InputError, Problem
from risk.policy.definition import load_policies
from risk.promise.appetite import Appetite, load_appetite, read_appetite, unknown_guarantees
from risk.promise.certificate import Certificate, Rested
from training.arguments import add_history, add_moment, file_problems, moment
from training.certificates.drawn import claims_of, pool_of
from training.certificates.evidence import Judged, judged
from training.certificates.write import named, put_in, signature_of
from training.check import refused
from training.history import History, decision_problems, end_of, fingerprint, open_history
from training.report import write_whole
from training.score import Origin, decided_claims, origin_in, origin_of

DAY = 86_400_000_000
METHOD = (
    "claims drawn in proportion to their amount (draws with larger probabilities thinned to that); thresholds in a fixed "
    "order from the lowest score up, exact binomial test, stopped at the first failure; error shared evenly between looks "
    "and segments"
)


@dataclass(frozen=True)
class Stretch:
    """Claims submitted in [start, end), as known before `labels_until`; microseconds."""

    start: int
    end: int
    labels_until: int


@dataclass(frozen=True)
class Outcome:
    """A certificate and what else was found about each segment."""

    certificate: Certificate
    segments: Mapping[str, Judged]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the bundle; the certificate is written into it")
    add_history(parser)
    add_moment(parser, "--from", help="first day of the claims (default: the first that the model has not learnt from)")
    add_moment(parser, "--to", help="first day after them (default: as late as labels had time to become known)")
    add_moment(parser, "--until", help="nothing that became known from this day on is looked at (default: all)")
    parser.add_argument("--appetite", type=Path, help="TOML file (default: the one that ships)")
    parser.add_argument("--scores", type=Path, help="Parquet file that `score` wrote for this bundle: spares scoring again")
    parser.add_argument("--json", type=Path, help="JSON file to write, with the certificate")


def run(args: argparse.Namespace) -> None:
    """Test, write the certificate into the bundle, print what it says."""
    if problems := file_problems({"--json": args.json}):
        raise InputError(problems)
    appetite = load_appetite() if args.appetite is None else read_appetite(args.appetite)
    if problems := unknown_guarantees(appetite, load_policies()):
        raise InputError(problems)
    key = signing_key()
    before = signature_of(args.bundle)
    bundle = Bundle.load(args.bundle, key)
    look = _look(bundle, appetite)
    # A claim that occurs twice would count as evidence twice.
    _tell("checking the history")
    if problems := refused(args.history):
        raise HistoryError(problems)
    with open_history(args.history) as history:
        if problems := decision_problems(history):
            raise HistoryError(problems)
        origin = None if args.scores is None else origin_in(args.scores)
        stretch = _stretch(args, bundle, appetite, history, origin)
        scores = _scores(args.scores, origin, history, bundle, stretch, appetite)
        outcome = certify(history, bundle, scores, stretch, appetite, look=look, now=time.time_ns() // 1000)
    put_in(args.bundle, outcome.certificate, key, before=before)
    if args.json:
        write_whole(args.json, outcome.certificate.model_dump_json(indent=2) + "\n")
    for name, found in outcome.segments.items():
        for note in found.notes:
            _tell(f"warning: {name}: {note}")
    print(_table(outcome))


def certify(
    history: History, bundle: Bundle, scores: Table, stretch: Stretch, appetite: Appetite, *, look: int, now: int
) -> Outcome:
    """The certificate of a bundle's `look` at its evidence, issued `now` (microseconds).

    `scores` has claim_id, submitted_at, score, eligible and segment of every claim of the stretch. Raises HistoryError where
    no segment's evidence could ever be tested, or none was tested and the bundle has a certificate already.
    """
    _tell("reading draws and labels")
    claims = claims_of(history, scores.filter(_.eligible), stretch.start, stretch.end, stretch.labels_until)
    total = history.claims.filter((_.submitted_at >= stretch.start) & (_.submitted_at < stretch.end)).count()
    found = {segment.name: judged(pool_of(claims, segment), segment, appetite) for segment in appetite.segment}
    if all(part.refused for part in found.values()):
        raise HistoryError([Problem(f"segment {name}", str(part.refused)) for name, part in found.items()])
    if bundle.certificate is not None and not any(part.evidence.curve for part in found.values()):
        raise HistoryError([Problem(f"segment {name}", part.evidence.detail) for name, part in found.items()])
    certificate = Certificate(
        certificate_id="",
        model=bundle.manifest["files"][MODEL],
        method=METHOD,
        issued_at=now,
        valid_until=now + int(appetite.promise.valid_days * DAY),
        appetite_version=appetite.version,
        population=appetite.population,
        delta=appetite.promise.delta,
        look=look,
        looks=appetite.promise.looks,
        data=Rested(
            history=fingerprint(history),
            start=stretch.start,
            end=stretch.end,
            labels_until=stretch.labels_until,
            claims=int(total.to_pyarrow().as_py()),
            eligible=len(claims),
            policies={policy.version: policy.digest for policy in load_policies().all},
        ),
        segments={name: part.evidence for name, part in found.items()},
    )
    return Outcome(named(certificate, _time(now)), found)


def _look(bundle: Bundle, appetite: Appetite) -> int:
    """Which test of this bundle's evidence comes next; a BundleError where there is none left."""
    past, promise = bundle.certificate, appetite.promise
    if past is None:
        return 1
    if (past.looks, past.delta) != (promise.looks, promise.delta):
        raise BundleError(
            f"the evidence of bundle {bundle.version} was to be tested {past.looks} times at delta {past.delta:.1%} when it was "
            f"first looked at, appetite {appetite.version} says {promise.looks} times at {promise.delta:.1%}: what was planned "
            "counts; train a new bundle for another plan"
        )
    # A certificate for which nothing could be tested has not spent anything.
    look = past.look + any(evidence.curve for evidence in past.segments.values())
    if look > past.looks:
        raise BundleError(
            f"the evidence of bundle {bundle.version} was tested {past.looks} times, as often as the appetite allows: train a new "
            "bundle on newer claims, and set `looks` in the appetite before its first test if it is to be tested more often"
        )
    return look


def _stretch(
    args: argparse.Namespace, bundle: Bundle, appetite: Appetite, history: History, origin: Origin | None
) -> Stretch:
    """The claims that count; an InputError names everything that is wrong with what was asked for.

    Without `--from` and `--to` it is as long as the labels, what the model has learnt from, and the scores allow.
    """
    # What a history does not know yet has not matured, however late a day is given.
    known = end_of(history)
    labels_until = known if args.until is None else min(args.until, known)
    first = _unlearnt(bundle)
    last = labels_until - int(appetite.promise.mature_days * DAY)
    start, end = getattr(args, "from"), args.to
    problems = []
    if start is not None and start < first:
        problems.append(Problem("--from", f"the model has learnt from claims before {_time(first)}: they are no evidence about it"))
    if end is not None and end > last:
        said = f"claims count from {appetite.promise.mature_days:g} days of age on, and labels are known until {_time(labels_until)}"
        problems.append(Problem("--to", f"{said}: at most {_time(last)}"))
    if start is None:
        start = first if origin is None else max(first, origin.start)
    if end is None:
        end = last if origin is None else min(last, origin.end)
    if not problems and start >= end:
        problems.append(Problem("--from", f"no claim has matured: from {_time(start)} to {_time(end)} there is nothing"))
    if problems:
        raise InputError(problems)
    return Stretch(start, end, labels_until)


def _unlearnt(bundle: Bundle) -> int:
    """The moment from which on the model has learnt from no label, in microseconds."""
    try:
        return moment(bundle.manifest["slices"]["calibrate"]["from"])
    except (KeyError, TypeError) as error:
        raise BundleError(f"bundle {bundle.version} does not say which claims it has learnt from: train it anew") from error


def _scores(
    file: Path | None, origin: Origin | None, history: History, bundle: Bundle, stretch: Stretch, appetite: Appetite
) -> Table:
    """The scores of a stretch, from a file or made now."""
    if file is None or origin is None:
        _tell("scoring the claims and judging what they asked for")
        return ibis.memtable(decided_claims(history, bundle, stretch.start, stretch.end, appetite))
    wanted = origin_of(bundle, appetite, stretch.start, stretch.end)
    problems = []
    if origin.model != wanted.model:
        problems.append(f"scores of another bundle, {origin.model_version}, not of {wanted.model_version}")
    if origin.population != wanted.population:
        problems.append("scores of other segments than the appetite's")
    if origin.policies != wanted.policies:
        problems.append("scores under other policies than those that hold now")
    if origin.start > stretch.start or origin.end < stretch.end:
        problems.append(
            f"scores from {_time(origin.start)} to {_time(origin.end)}, wanted are those from {_time(stretch.start)} to {_time(stretch.end)}"
        )
    if problems:
        raise InputError([Problem("--scores", problem) for problem in problems])
    table = history.connection.read_parquet(file)
    inside = history.claims.filter((_.submitted_at >= stretch.start) & (_.submitted_at < stretch.end))
    lacking = int(inside.anti_join(table, "claim_id").count().to_pyarrow().as_py())
    if lacking:
        raise InputError([Problem("--scores", f"{lacking:,} claims of the history have no score: scores of another history")])
    twice = int((table.count() - table.claim_id.nunique()).to_pyarrow().as_py())
    if twice:
        raise InputError([Problem("--scores", f"{twice:,} rows are about a claim that has a score already")])
    return table


def _table(outcome: Outcome) -> str:
    """What a certificate says, for a terminal."""
    certificate = outcome.certificate
    data = certificate.data
    of = f"{data.claims:,} claims from {_time(data.start)} to {_time(data.end)}, {data.eligible:,} of them eligible"
    lines = [
        f"{certificate.certificate_id}, look {certificate.look} of {certificate.looks}, valid until {_time(certificate.valid_until)}",
        f"{of}; outcomes as known on {_time(data.labels_until)}",
        f"{'segment':<16} {'status':<20} {'threshold':>9} {'drawn':>8} {'abusive':>8} {'unresolved':>10} {'bound':>7} {'of money':>8}",
    ]
    for name, evidence in certificate.segments.items():
        point = next((one for one in evidence.curve if one.threshold == evidence.threshold), None)
        lines.append(
            f"{name:<16} {evidence.status:<20} {_number(evidence.threshold, '.4f'):>9} {evidence.drawn:>8,} {evidence.abusive:>8,} "
            f"{evidence.unresolved:>10,} {_number(evidence.bound, '.2%'):>7} {_number(point.money_share if point else 0.0, '.1%'):>8}"
        )
    lines += [f"{name}: {evidence.detail}" for name, evidence in certificate.segments.items()]
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _time(when: int) -> str:
    return f"{datetime.fromtimestamp(when / 1_000_000, UTC):%Y-%m-%d}"


def _tell(what: str) -> None:
    print(what, file=sys.stderr)
