"""`train`: fit on the past, stop early and calibrate on what came later, write a signed bundle."""

import argparse
import importlib.metadata
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from risk.bundle import Bundle, signing_key, write_bundle
from risk.errors import HistoryError, InputError, Problem
from risk.features import load_features
from risk.promise.appetite import load_appetite
from training.arguments import add_history, add_moment, replaced_folder
from training.check import check_history
from training.dataset import Matrix, build_matrix, labels_at, rows_until
from training.history import History, end_of, fingerprint, open_history

DAY = 24 * 3_600_000_000
FEWEST = 50
"""Abusive and legitimate labels needed in the part that is fitted on."""
FEWEST_TO_JUDGE = 5
"""The same in the parts that come after it."""
FEWEST_TO_CALIBRATE = 300
"""With fewer labels than this a calibrator is worse than the raw score (measured; see docs/training.md)."""
ENOUGH_TO_STOP = 400
"""Labels below a threshold from which on a share above `alpha` is more than the luck of a few."""
PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "metric": "binary_logloss",
    "learning_rate": 0.08,
    # Few and small trees: explanations cost the square of their depth, and a reviewed claim waits for them. A slower
    # rate with three times the trees ranked no better (docs/training.md).
    "num_leaves": 15,
    "max_depth": 5,
    "min_child_samples": 60,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "cat_smooth": 30.0,
    "max_bin": 127,
    "monotone_constraints_method": "basic",
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
MOST_TREES, PATIENCE = 120, 20
MOST_GAP_DAYS = 3650


@dataclass(frozen=True)
class Slice:
    """Labelled claims of one stretch of time: places in the matrix, labels, weights, money."""

    start: int
    end: int
    rows: NDArray[np.int64]
    abuse: NDArray[np.int64]
    weight: NDArray[np.float64]
    amount: NDArray[np.int64]

    def summary(self) -> dict[str, Any]:
        """What the manifest keeps of it."""
        return {"from": _iso(self.start), "to": _iso(self.end), "labelled": len(self.rows), "abuse": int(self.abuse.sum())}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_history(parser)
    add_moment(parser, "--until", help="nothing that became known from this day on is looked at (default: all)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle; an older bundle there is replaced")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--gap-days", type=float, help="time between training and later slices (default: the label delay)")
    parser.add_argument("--alpha", type=float, help="abuse tolerated in the money approved (default: the appetite's)")
    parser.add_argument("--threads", type=int, default=0, help="0 means all cores")


def run(args: argparse.Namespace) -> None:
    """Check the history, train, write the bundle, and print what came out."""
    _refuse(args)
    _tell("checking the history")
    findings = check_history(args.history)
    for warning in findings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if findings.problems:
        raise HistoryError(findings.problems)
    with open_history(args.history, threads=args.threads or None) as history, replaced_folder(args.out) as folder:
        until = args.until if args.until is not None else end_of(history)
        alpha = args.alpha if args.alpha is not None else load_appetite().promise.alpha
        manifest, model = train(history, until=until, seed=args.seed, gap_days=args.gap_days, alpha=alpha, threads=args.threads)
        version = write_bundle(folder, model, manifest, signing_key(create=True))
        Bundle.load(folder, signing_key())
    slices = manifest["slices"]
    print(f"bundle {version} in {args.out}")
    print(f"trees {manifest['trees']}, gap {manifest['gap_days']:.1f} days, threshold {manifest['threshold']:.4f}")
    for name, part in slices.items():
        print(f"{name:<10} {part['from'][:10]} to {part['to'][:10]}  {part['labelled']:>8,} labelled, {part['abuse']:,} abuse")


def _refuse(args: argparse.Namespace) -> None:
    """Everything that is wrong with the arguments, before anything slow begins."""
    problems = []
    if args.alpha is not None and not 0 < args.alpha < 1:
        problems.append(Problem("--alpha", "a share between 0 and 1 is expected"))
    # Not a number is in no range.
    if args.gap_days is not None and not 0 <= args.gap_days <= MOST_GAP_DAYS:
        problems.append(Problem("--gap-days", f"a number of days from 0 to {MOST_GAP_DAYS} is expected"))
    if problems:
        raise InputError(problems)


def train(
    history: History, *, until: int, seed: int, gap_days: float | None, alpha: float, threads: int
) -> tuple[dict[str, Any], str]:
    """The manifest and the model text of a new bundle; raises HistoryError where there are too few labels."""
    last = rows_until(history, until)
    if not last:
        raise HistoryError([Problem("--until", f"no claim before --until ({_iso(until)[:10]})")])
    labels = labels_at(history, until)
    labels = labels[labels["label"].isin(("abuse", "legitimate")) & (labels["submitted_at"] < until)]
    gap = int(gap_days * DAY) if gap_days is not None else _delay(labels, until)
    slices = _slices(labels, until, gap)
    calibrate = slices["calibrate"]
    _tell(f"computing the features of {last:,} claims")
    matrix = build_matrix(history, last=last)
    words = matrix.vocabulary()
    values = matrix.encoded({name: {word: code for code, word in enumerate(known)} for name, known in words.items()})
    booster = _fit(matrix, values, slices, seed=seed, threads=threads)
    _tell(f"calibrating on {len(calibrate.rows):,} later claims")
    raw = np.asarray(booster.predict(values[calibrate.rows], raw_score=True))
    calibrator = _calibrator(raw, calibrate)
    score = 1.0 / (1.0 + np.exp(-(calibrator["slope"] * raw + calibrator["intercept"])))
    features = load_features()
    manifest = {
        "trained_until": _iso(until),
        "seed": seed,
        "alpha": alpha,
        "threshold": plain_threshold(score, calibrate, alpha),
        "calibrator": calibrator,
        "gap_days": gap / DAY,
        "trees": booster.num_trees(),
        "slices": {name: part.summary() for name, part in slices.items()},
        "features": {
            "fingerprint": features.fingerprint,
            "names": list(features.names),
            "signals": [name for name in matrix.columns if name not in features.names],
            "categories": words,
        },
        "reference": {"score_deciles": np.quantile(score, np.linspace(0, 1, 11)).tolist()},
        "parameters": PARAMETERS,
        "history": fingerprint(history),
        "libraries": {name: importlib.metadata.version(name) for name in ("lightgbm", "scikit-learn", "numpy", "duckdb")},
    }
    return manifest, booster.model_to_string()


def _slices(labels: pd.DataFrame, until: int, gap: int) -> dict[str, Slice]:
    """Stretches of matured claims in order of time, the label delay between what is fitted on and what comes after.

    `fit` and `stop` find the number of trees, `refit` is what the model then learns from, `calibrate` gives it its
    calibrator and threshold.
    """
    mature = labels[labels["submitted_at"] < until - gap]
    if len(mature) == 0:
        raise HistoryError([Problem("labels", f"no label of a claim older than the gap of {gap / DAY:.0f} days")])
    moments = mature["submitted_at"].to_numpy()
    first, middle, late = (int(np.quantile(moments, share)) for share in (0.0, 0.60, 0.75))

    def before(moment: int) -> int:
        # The gap never eats more than a third of what there is to learn from.
        return moment - min(gap, (moment - first) // 3)

    bounds = {
        "fit": (first, before(middle)),
        "stop": (middle, late),
        "refit": (first, before(late)),
        "calibrate": (late, int(moments[-1]) + 1),
    }
    slices = {name: _slice(mature, *stretch) for name, stretch in bounds.items()}
    needed = {"fit": FEWEST, "stop": FEWEST_TO_JUDGE, "calibrate": FEWEST_TO_JUDGE}
    problems = [
        Problem("labels", f"{name}: {int(part.abuse.sum())} abuse of {len(part.rows)} labels, at least {least} of each needed")
        for name, least in needed.items()
        if min((part := slices[name]).abuse.sum(), len(part.rows) - part.abuse.sum()) < least
    ]
    if problems:
        raise HistoryError(problems)
    return slices


def _slice(labels: pd.DataFrame, start: int, end: int) -> Slice:
    part = labels[(labels["submitted_at"] >= start) & (labels["submitted_at"] < end)]
    # An audited approval stands for all approvals that were not audited; whatever was reviewed stands for itself.
    drawn = part["audit_probability"].where(part["approved"]).fillna(1.0)
    weight = 1.0 / drawn.clip(lower=0.001).to_numpy(dtype=float)
    return Slice(
        start=start,
        end=end,
        rows=part["row"].to_numpy(),
        abuse=(part["label"] == "abuse").to_numpy(dtype=np.int64),
        weight=weight,
        amount=part["amount"].to_numpy(),
    )


def _fit(
    matrix: Matrix, values: NDArray[np.float64], slices: dict[str, Slice], *, seed: int, threads: int
) -> lightgbm.Booster:
    features = load_features()
    parameters = PARAMETERS | {
        "seed": seed,
        "num_threads": threads,
        "monotone_constraints": [features.monotone.get(name, 0) for name in matrix.columns],
    }

    def data(part: Slice) -> lightgbm.Dataset:
        # Full inverse-probability weights over-fit the few heavy rows; their square roots rank best (docs/training.md).
        weight = np.sqrt(part.weight)
        return lightgbm.Dataset(
            values[part.rows],
            part.abuse,
            weight=weight / weight.mean(),
            feature_name=[f"f{place}" for place in range(len(matrix.columns))],
            categorical_feature=[matrix.columns.index(name) for name in matrix.words],
            params=parameters,
        )

    fit, stop, refit = (slices[name] for name in ("fit", "stop", "refit"))
    _tell(f"finding the number of trees: learning from {len(fit.rows):,} labelled claims, judging on {len(stop.rows):,} later ones")
    stopping = [lightgbm.early_stopping(PATIENCE, verbose=False), _progress]
    found = lightgbm.train(parameters, data(fit), MOST_TREES, [data(stop)], callbacks=stopping)
    trees = max(found.best_iteration, 1)
    _tell(f"learning {trees} trees from {len(refit.rows):,} labelled claims")
    return lightgbm.train(parameters, data(refit), trees)


def _progress(environment: Any) -> None:
    if environment.iteration % 25 == 0:
        loss = environment.evaluation_result_list[0][2]
        _tell(f"  {environment.iteration + 1} of at most {MOST_TREES} trees, log loss {loss:.4f} (less is better)")


def _calibrator(raw: NDArray[np.float64], part: Slice) -> dict[str, float]:
    """Two numbers of a logistic fit on the raw score; the identity where labels are too few or the fit turns around."""
    if len(raw) < FEWEST_TO_CALIBRATE:
        return {"slope": 1.0, "intercept": 0.0}
    model = LogisticRegression(C=np.inf).fit(raw.reshape(-1, 1), part.abuse, sample_weight=part.weight)
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    return {"slope": slope, "intercept": intercept} if slope > 0 else {"slope": 1.0, "intercept": 0.0}


def plain_threshold(score: NDArray[np.float64], part: Slice, alpha: float) -> float:
    """The largest score under which at most `alpha` of the money was abuse; 0 where no score will do.

    Scores are tried from the lowest on, and none beyond the first that lets too much through once enough labels are below
    it: a share that comes down again later is luck with a few large amounts.

    .. warning:: An observed share, not a promise: it is broken on about half of all later stretches.
    """
    order = np.argsort(score, kind="stable")
    money = np.cumsum((part.weight * part.amount)[order])
    lost = np.cumsum((part.weight * part.amount * part.abuse)[order])
    # Claims of one score are approved together or not at all.
    ends = np.append(np.diff(score[order]) > 0, True)
    fine = lost <= alpha * money
    exceeded = np.flatnonzero(~fine & ends & (np.arange(len(fine)) >= ENOUGH_TO_STOP))
    within = np.flatnonzero((fine & ends)[: exceeded[0] if len(exceeded) else None])
    return float(score[order][within[-1]]) if len(within) else 0.0


def _delay(labels: pd.DataFrame, until: int) -> int:
    """The time within which nine of ten labels become known, at most a quarter of the history (microseconds)."""
    if len(labels) == 0:
        return 0
    span = until - int(labels["submitted_at"].min())
    delay = np.quantile((labels["known_at"] - labels["submitted_at"]).to_numpy(), 0.9)
    return int(min(delay, span / 4))


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1_000_000, UTC).isoformat()


def _tell(what: str) -> None:
    print(what, file=sys.stderr)
