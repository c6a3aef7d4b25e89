"""Certificates with the truth known: how often the promise is broken and what is approved, by ours, MAPIE's and a naive rule.

Each repetition draws claims with replacement from a large population whose abuse is known, so that the share of abused money
below a threshold is known exactly. A method sees the labels that the scenario gives it, and a threshold of its choice breaks
the promise where more than alpha of the population's money below it is abused.
"""

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from mapie.risk_control import BinaryClassificationController, precision
from numpy.typing import NDArray

from risk.bundle import Bundle
from risk.promise.appetite import load_appetite
from risk.promise.watch import watch
from tests.benchmarks.marketplace import Place
from training.certificates.drawn import Drawn, Pool, drawn
from training.certificates.sequence import candidates, fixed_sequence
from training.score import origin_of, write_scores
from training.train import Slice, plain_threshold

ALPHA, DELTA = 0.03, 0.10
POPULATION = 1_000_000
CLAIMS = {"uniform": 8_000, "selective": 24_000}
"""Claims of a repetition: about two thousand drawn ones either way."""
APPROVED, RATE = 0.7, 0.35
"""Share that the earlier champion approves, and the audit probability of the largest amount."""
NEW_FROM = "2026-06-01"
NEW = ("coached", "false_not_received", "many_accounts", "serial_refunder", "empty_box", "made_evidence")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """A population: score, amount as a share of the largest, chance of abuse, and the earlier champion's own score."""

    score: Floats
    money: Floats
    abuse: Floats
    champion: Floats

    def truth(self) -> Callable[[float], tuple[float, float]]:
        """For a threshold: the share of abuse in the money at or below it, and the share of all money that lies there."""
        order = np.argsort(self.score, kind="stable")
        ranked, money = self.score[order], np.cumsum(self.money[order])
        lost = np.cumsum((self.money * self.abuse)[order])

        def at(threshold: float) -> tuple[float, float]:
            place = int(np.searchsorted(ranked, threshold, side="right")) - 1
            return (0.0, 0.0) if place < 0 else (float(lost[place] / money[place]), float(money[place] / money[-1]))

        return at

    def best(self, alpha: float) -> float:
        """The largest share of money that could be approved by somebody who knows the truth."""
        order = np.argsort(self.score, kind="stable")
        money = np.cumsum(self.money[order])
        fine = np.flatnonzero(np.cumsum((self.money * self.abuse)[order]) <= alpha * money)
        return float(money[fine[-1]] / money[-1]) if len(fine) else 0.0


@dataclass(frozen=True)
class Sample:
    """What a method sees of one repetition."""

    alpha: float
    labelled: Slice
    score: Floats
    drawn: Drawn


def invented(rng: np.random.Generator, *, heavy: bool) -> World:
    """A made-up population; dearer claims are more often abuse, and the champion knows something that the score does not.

    With `heavy` a fifth of the amounts has a Pareto tail of exponent 1.1, cut at the largest amount.
    """
    seen, hidden = rng.standard_normal(POPULATION), rng.standard_normal(POPULATION)
    money = np.exp(-2.2 + 0.8 * rng.standard_normal(POPULATION))
    if heavy:
        tail = rng.random(POPULATION) < 0.2
        money = np.where(tail, 0.05 * (1.0 - rng.random(POPULATION)) ** (-1 / 1.1), 0.5 * money)
    money = np.clip(money, 1e-3, 1.0)
    abuse = 1.0 / (1.0 + np.exp(4.0 - 1.5 * seen - 0.6 * hidden - 0.25 * np.log(money / 0.1)))
    score = 1.0 / (1.0 + np.exp(3.7 - 1.5 * (seen + 0.4 * rng.standard_normal(POPULATION))))
    return World(score, money, abuse, seen + hidden + 0.5 * rng.standard_normal(POPULATION))


def sample_of(world: World, rng: np.random.Generator, labels: str, alpha: float) -> Sample:
    """Claims of one repetition: all reviewed, or most approved and audited in proportion to the amount."""
    count = CLAIMS[labels]
    rows = rng.integers(len(world.score), size=count)
    score, money = world.score[rows], world.money[rows]
    abuse = rng.random(count) < world.abuse[rows]
    probability = np.ones(count)
    if labels == "selective":
        champion = world.champion[rows]
        approved = champion <= np.quantile(champion, APPROVED)
        probability = np.where(approved, RATE * money, 1.0)
    selected = rng.random(count) < probability
    pool = Pool(
        # Ids that no other repetition has: thinning draws by the id.
        claim_id=np.array([f"{number:x}" for number in rng.integers(2**62, size=count)], dtype=object),
        score=score, money=money, probability=probability, selected=selected, bad=abuse, unresolved=np.zeros(count, dtype=bool),
    )  # fmt: skip
    known = np.flatnonzero(selected)
    labelled = Slice(0, 1, known, abuse[known].astype(np.int64), 1.0 / probability[known], money[known])  # type: ignore[arg-type]
    return Sample(alpha, labelled, score[known], drawn(pool))


def ours(sample: Sample) -> float | None:
    """The fixed sequence of exact tests on claims drawn in proportion to their amount."""
    found = [one for one in fixed_sequence(sample.drawn.score, sample.drawn.bad, alpha=sample.alpha, error=DELTA) if one.passed]
    return found[-1].threshold if found else None


def naive(sample: Sample) -> float | None:
    """The largest score below which the labelled claims, weighted, held the promise: what `train` writes down."""
    return plain_threshold(sample.score, sample.labelled, sample.alpha) or None


def mapie_counts(sample: Sample) -> float | None:
    """MAPIE's controller of the precision on the labelled claims as they come."""
    return _mapie(sample.score, sample.labelled.abuse, sample.alpha)


def mapie_drawn(sample: Sample) -> float | None:
    """The same on the claims drawn in proportion to their amount, where counts are money."""
    return _mapie(sample.drawn.score, sample.drawn.bad.astype(np.int64), sample.alpha)


def _mapie(score: Floats, abuse: NDArray[np.int64], alpha: float) -> float | None:
    # The same thresholds as ours, so that only the tests differ.
    grid = np.array([threshold for threshold, _rows in candidates(np.sort(score), alpha, DELTA)])
    if not len(grid):
        return None
    # What it controls is the precision of the positive class: here the honest claims.
    controller = BinaryClassificationController(
        predict_function=lambda scores: np.column_stack([scores[:, 0], 1.0 - scores[:, 0]]),
        risk=precision,
        target_level=1 - alpha,
        confidence_level=1 - DELTA,
        list_predict_params=1.0 - grid,
        fwer_method="fixed_sequence",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        controller.calibrate(score[:, None], 1 - abuse)
    valid = np.asarray(controller.valid_predict_params, dtype=float)
    return float(1.0 - valid.min()) if valid.size else None


METHODS = {"ours": ours, "mapie, counts": mapie_counts, "mapie, drawn": mapie_drawn, "naive": naive}


def compare(world: World, labels: str, alpha: float, repetitions: int, seed: int) -> dict[str, dict[str, float]]:
    """By method: how often the promise was broken (with its standard error), the mean share of money approved, no threshold."""
    truth, found = world.truth(), {name: np.zeros((repetitions, 3)) for name in METHODS}
    for number in range(repetitions):
        sample = sample_of(world, np.random.default_rng([seed, number]), labels, alpha)
        for name, method in METHODS.items():
            threshold = method(sample)
            lost, share = truth(threshold) if threshold is not None else (0.0, 0.0)
            found[name][number] = lost > alpha, share, threshold is None
    rows = {}
    for name, values in found.items():
        broken, share, nothing = values.mean(axis=0)
        error = np.sqrt(broken * (1 - broken) / repetitions)
        rows[name] = {"broken": float(broken), "standard_error": float(error), "money": float(share), "no_threshold": float(nothing)}
    return rows


# --- the simulated marketplace -----------------------------------------------------------------------------------


def marketplace(place: Place) -> World:
    """Eligible claims of the segment `small` of a simulated history, with the scores of a bundle that had not seen them."""
    truth = pd.read_parquet(place.root / "history.oracle.parquet")
    amount = pd.read_parquet(place.history / "claims.parquet", columns=["claim_id", "amount"])
    scores = pd.read_parquet(place.root / "scores.parquet")
    chosen = scores[scores["eligible"] & (scores["segment"] == "small")].merge(truth, on="claim_id").merge(amount, on="claim_id")
    largest = load_appetite().segment[0].largest["CNY"]
    return World(
        chosen["score"].to_numpy(),
        chosen["amount"].to_numpy() / largest,
        chosen["abuse"].to_numpy(float),
        chosen["champion_score"].to_numpy(),
    )


def prepare(place: Place, claims: int, *new: str) -> None:
    """A history in which `new` typologies exist from a day on, a bundle of the time before it, and scores of what came after."""
    if (place.root / "scores.parquet").exists():
        return
    place.root.mkdir(parents=True, exist_ok=True)
    history, bundle = ["--history", str(place.history)], ["--bundle", str(place.root / "bundle")]
    typologies = [word for name in new for word in ("--new-typology", f"{name}@{NEW_FROM}")]
    options = ["--claims", str(claims), "--seed", "7", "--hide-approved", *typologies]
    _training(place, "simulate", "--out", str(place.history), "--force", *options)
    _training(place, "train", *history, "--until", "2026-05-01", "--out", bundle[1])
    stretch = ["--from", "2026-03-01" if not new else "2026-04-10", "--to", "2026-12-01"]
    _training(place, "score", *history, *bundle, *stretch, "--out", str(place.root / "scores.parquet"))


def _training(place: Place, *arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "training", *arguments],
        env=place.environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - start


# --- the watch -----------------------------------------------------------------------------------------------------


def alarms(before: Floats, after: Floats, repetitions: int, *, quiet: int = 1_000, audits: int = 8_000) -> dict[str, Any]:
    """Audits until the alarm after a change; `before` and `after` are chances of abuse of single audits, drawn from at random."""
    level = load_appetite().promise.watch_level
    waits, false = [], 0
    for number in range(repetitions):
        rng = np.random.default_rng([3, number])
        rates = np.concatenate([rng.choice(before, quiet), rng.choice(after, audits)])
        found = watch((rng.random(len(rates)) < rates).astype(np.int8), ALPHA, level).alarm_at
        false += found is not None and found <= quiet
        if found is None or found > quiet:
            waits.append(np.inf if found is None else found - quiet)
    median, most = (float(np.quantile(waits, part, method="higher")) for part in (0.5, 0.9))
    return {
        "before": round(float(before.mean()), 4),
        "after": round(float(after.mean()), 4),
        "median": median if np.isfinite(median) else None,
        "nine_of_ten": most if np.isfinite(most) else None,
        "never": float(np.mean(np.isinf(waits))),
        "alarm_before_the_change": false / repetitions,
    }


def watching(place: Place, repetitions: int) -> dict[str, Any]:
    """Planted changes of the rate, typologies that appear in the simulated marketplace, and false alarms."""
    rows: dict[str, Any] = {}
    for times in (1.5, 2, 3, 5):
        rows[f"from half of alpha to {times:g} times alpha"] = alarms(np.array([ALPHA / 2]), np.array([ALPHA * times]), repetitions)
    level, edge = load_appetite().promise.watch_level, 0
    for number in range(repetitions):
        stream = np.random.default_rng([4, number]).random(10_000) < ALPHA
        edge += watch(stream.astype(np.int8), ALPHA, level).alarm_at is not None
    rows["alarms in 10,000 audits at alpha itself"] = edge / repetitions
    world, day = _approved(place)
    cut = pd.Timestamp(NEW_FROM, tz="UTC")
    # Claims after the day are on purchases from before it for some weeks: the change comes slowly, and is complete by then.
    parts = {"before": day < cut, "after": day >= cut + pd.Timedelta(days=30)}
    streams = {name: _in_proportion(world[part.to_numpy()]) for name, part in parts.items()}
    rows[f"{len(NEW)} typologies appear"] = alarms(streams["before"], streams["after"], repetitions)
    return rows


def _approved(place: Place) -> tuple[pd.DataFrame, pd.Series]:
    """Claims that a threshold approves which just held the promise before the day, and when they were submitted."""
    truth = pd.read_parquet(place.root / "history.oracle.parquet", columns=["claim_id", "abuse"])
    amount = pd.read_parquet(place.history / "claims.parquet", columns=["claim_id", "amount"])
    scores = pd.read_parquet(place.root / "scores.parquet")
    rows = scores[scores["eligible"] & (scores["segment"] == "small")].merge(truth, on="claim_id").merge(amount, on="claim_id")
    before = rows[rows["submitted_at"] < pd.Timestamp(NEW_FROM, tz="UTC")].sort_values("score")
    share = (before["amount"] * before["abuse"]).cumsum() / before["amount"].cumsum()
    threshold = float(before["score"][share <= 0.8 * ALPHA].max())
    chosen = rows[rows["score"] <= threshold]
    return chosen, chosen["submitted_at"]


def _in_proportion(rows: pd.DataFrame) -> Floats:
    """Outcomes of a thousandfold of audits drawn from some claims in proportion to their amounts."""
    money = rows["amount"].to_numpy(float)
    chosen = np.random.default_rng(5).choice(len(rows), size=200_000, p=money / money.sum())
    return rows["abuse"].to_numpy(float)[chosen]


# --- speed -----------------------------------------------------------------------------------------------------------


def speed(place: Place, bundle: Path, claims: int = 1_000_000) -> dict[str, float]:
    """Seconds of `certify --scores` on decided claims written directly, as a process of its own."""
    rng, folder = np.random.default_rng(1), place.root / f"decided-{claims}"
    model = Bundle.load(bundle, _key(place))
    begin = pd.Timestamp(model.manifest["slices"]["calibrate"]["from"]).ceil("D")
    if not (folder / "scores.parquet").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _decided(rng, folder, begin, claims, model)
    copy = folder / "bundle"
    seconds = []
    for _round in range(2):
        subprocess.run(["rm", "-rf", str(copy)], check=True)
        subprocess.run(["cp", "-r", str(bundle), str(copy)], check=True)
        seconds.append(_training(place, "certify", "--history", str(folder), "--bundle", str(copy), "--scores", str(folder / "scores.parquet")))
    found = Bundle.load(copy, _key(place)).certificate
    assert found is not None
    return {"claims": claims, "seconds": round(min(seconds), 1), "drawn": found.segments["small"].drawn, "eligible": found.data.eligible}


def _key(place: Place) -> bytes:
    return place.environment["BUNDLE_KEY"].encode()


def _decided(rng: np.random.Generator, folder: Path, begin: pd.Timestamp, claims: int, model: Bundle) -> None:
    """A history of three months in which everything was decided, and scores of it."""
    ids = np.array([f"{number:016x}" for number in rng.permutation(claims)])
    submitted = begin + pd.to_timedelta(np.sort(rng.integers(90 * 86_400, size=claims)), unit="s")
    small = rng.random(claims) < 0.9
    amount = np.where(small, rng.integers(100, 30_000, claims), rng.integers(30_001, 500_000, claims))
    money = amount / np.where(small, 30_000, 500_000)
    score = rng.beta(0.6, 14, claims)
    abuse = rng.random(claims) < score * (0.4 + 0.6 * money)
    selected = rng.random(claims) < 0.2 * money
    approved = rng.random(claims) < 0.7
    shown = selected | (~approved & (rng.random(claims) < 0.9))
    buyer = np.array([f"b{number}" for number in rng.integers(claims // 5, size=claims)])
    orders = pa.table({
        "order_id": ids, "buyer_id": buyer, "merchant_id": np.full(claims, "m"), "paid_at": submitted - pd.Timedelta(days=3), "paid_amount": amount,
    })  # fmt: skip
    own = pa.table({
        "claim_id": ids, "order_id": ids, "submitted_at": submitted, "buyer_id": buyer, "merchant_id": np.full(claims, "m"),
        "amount": amount, "currency": np.full(claims, "CNY"),
    })  # fmt: skip
    labels = pa.table({
        "claim_id": ids[shown], "known_at": (submitted + pd.to_timedelta(rng.integers(86_400, 20 * 86_400, claims), unit="s"))[shown],
        "label": np.where(abuse, "abuse", "legitimate")[shown],
    })  # fmt: skip
    # One claim, known long after: it says until when outcomes were looked for.
    last = begin + pd.Timedelta(days=130)
    labels = pa.concat_tables([labels, labels.slice(0, 1).set_column(1, "known_at", pa.array([last], labels.schema.field("known_at").type))])
    decisions = pa.table({
        "claim_id": ids, "decision": np.where(approved, "approve", "review"), "audit_probability": 0.2 * money, "audit_selected": selected,
    })  # fmt: skip
    for name, table in {"orders": orders, "claims": own, "labels": labels, "decisions": decisions}.items():
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
    scores = pd.DataFrame({
        "claim_id": ids, "submitted_at": submitted, "score": score, "decision": np.where(approved, "approve", "review"), "eligible": rng.random(claims) < 0.97,
        "guarantee": "seven_day_return", "segment": np.where(small, "small", "large"),
    })  # fmt: skip
    start, end = (int(moment.timestamp() * 1_000_000) for moment in (begin, begin + pd.Timedelta(days=90)))
    write_scores(folder / "scores.parquet", scores, origin_of(model, load_appetite(), start, end))


# --- all of it -------------------------------------------------------------------------------------------------------


def run(root: Path, repetitions: int = 500, claims: int = 200_000) -> dict[str, Any]:
    """Everything above, with progress on standard error."""
    plain, changed = Place(root / "plain"), Place(root / "changed")
    prepare(plain, claims)
    worlds = {
        "made up": (invented(np.random.default_rng(1), heavy=False), ALPHA),
        "made up, a fifth of amounts heavy-tailed": (invented(np.random.default_rng(2), heavy=True), ALPHA),
        # Where the share of abuse hardly grows with the score, so that a threshold is easily taken too high.
        "simulated marketplace": (marketplace(plain), 0.02),
    }
    figures: dict[str, Any] = {"delta": DELTA, "repetitions": repetitions, "promise": {}}
    for number, (name, (world, alpha)) in enumerate(worlds.items()):
        for labels in CLAIMS:
            start = time.perf_counter()
            rows = compare(world, labels, alpha, repetitions, seed=10 * number + len(labels))
            figures["promise"][f"{name}, {labels} labels"] = {"alpha": alpha, "best": round(world.best(alpha), 4), **rows}
            print(f"{name}, {labels} labels ({time.perf_counter() - start:.0f} s): {json.dumps(rows)}", file=sys.stderr)
    prepare(changed, claims, *NEW)
    figures["watch"] = watching(changed, repetitions)
    print(f"watch: {json.dumps(figures['watch'])}", file=sys.stderr)
    figures["speed"] = speed(plain, plain.root / "bundle")
    return figures
