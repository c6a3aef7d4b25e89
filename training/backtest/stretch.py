"""The claims of a stretch as arrays: what every replay of it shares, whatever the bundle, policy and appetite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ibis import _

from risk.bundle import Bundle
from risk.errors import HistoryError, Problem
from risk.features import load_features
from training.backtest import judging, quotas
from training.backtest.judging import cover_features
from training.backtest.truth import Truth, read_truth
from training.dataset import Matrix, build_matrix, labels_at, rows_until
from training.history import ENTITY_COLUMNS, History, decision_problems
from training.metrics import Flags, Floats, Integers

DAY = 86_400_000_000
YEAR = 365 * DAY
REGION = "x_region"
"""The caller's own signal that names the region of a claim."""
DECISIONS = ("decision", "audit_probability", "audit_selected")
_FACTS = ("claim_id", "order_id", *ENTITY_COLUMNS, "submitted_at", "as_of", "amount", "paid_amount", "refunded_amount",
          "currency", "category", "reason", "remedy", "registered_at", "paid_at", "shipped_at", "delivered_at",
          "return_received_at")  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """The claims under one set of policies: what gates ask, shape (claims,) each; see `training.backtest.judging.SCHEMA`."""

    consistent: Flags
    left: Floats
    """NaN where the money is not the order's."""
    best: np.ndarray
    payer: np.ndarray
    supported: Floats
    remedy_fits: Flags
    at_once: Flags
    policy: np.ndarray


@dataclass(frozen=True)
class Stretch:
    """Claims in order of time, shape (claims,) each; moments in microseconds, money in minor units."""

    when: Integers
    amount: Floats
    facts: Mapping[str, list[Any]]
    """Columns as plain values, for rules that look at one claim at a time."""
    quota: quotas.Claims
    repeated: Mapping[int, dict[str, Any]]
    """The facts of claims whose order has several claims in the stretch: there one decision changes the next."""
    truth: Truth
    decided: Flags | None
    """Whether the history's own decision was to approve, where it says."""
    audited: Flags | None
    """Whether the history's own draw chose the claim."""
    draw: Floats
    """One random number a claim: the same in every replay, so that replays differ by what is compared and not by luck."""
    merchant_orders: Integers
    """Orders of the claim's merchant in the 365 days before it."""
    account_days: Floats
    """Age of the buyer's account, or where that is not known of the first order; NaN without either."""
    region: np.ndarray | None

    def __len__(self) -> int:
        return len(self.when)

    @property
    def currencies(self) -> list[str]:
        """The currencies that are named."""
        return sorted({currency for currency in self.facts["currency"] if currency is not None})


@dataclass(frozen=True)
class Loaded:
    """A stretch, its judgement by each set of policies, and the score of each pair of bundle and policies."""

    stretch: Stretch
    judged: Mapping[tuple[Path, ...], Judged]
    scores: Mapping[tuple[str, tuple[Path, ...]], Floats]


def load(
    history: History,
    start: int,
    end: int,
    pairs: Sequence[tuple[Bundle, tuple[Path, ...]]],
    *,
    oracle: Path | None,
    seed: int,
) -> Loaded:
    """Claims submitted in [start, end) (microseconds), with all values as of each claim.

    Raises HistoryError where there is no such claim.
    """
    first, last = rows_until(history, start), rows_until(history, end)
    if first >= last:
        raise HistoryError([Problem("claims.submitted_at", "no claim in the stretch asked for")])
    judged, scores = {}, {}
    signals = tuple(dict.fromkeys(name for bundle, _files in pairs for name in bundle.signals))
    matrix: Matrix | None = None
    for files in dict.fromkeys(files for _bundle, files in pairs):
        table = judging.judged(history, first, last, files)
        judged[files] = _judged(table)
        matrix = build_matrix(history, first=first, last=last, signals=signals, cover=cover_features(table))
        for bundle in {bundle.version: bundle for bundle, other in pairs if other == files}.values():
            columns = [matrix.columns.index(name) for name in bundle.columns]
            raw = bundle.raw(matrix.encoded(bundle.codes)[:, columns], threads=0)
            scores[bundle.version, files] = bundle.calibrate(raw)
    assert matrix is not None
    return Loaded(_stretch(history, first, last, matrix, oracle, seed), judged, scores)


def _judged(table: Any) -> Judged:
    def words(name: str) -> np.ndarray:
        return np.array(table[name].to_pylist(), dtype=object)

    def numbers(name: str) -> Floats:
        return table[name].to_pandas().to_numpy(np.float64, na_value=np.nan)

    def flags(name: str) -> Flags:
        return table[name].to_pandas().to_numpy(bool)

    return Judged(
        consistent=flags("consistent"),
        left=numbers("left"),
        best=words("best"),
        payer=words("payer"),
        supported=numbers("supported"),
        remedy_fits=flags("remedy_fits"),
        at_once=flags("at_once"),
        policy=words("policy"),
    )


def _stretch(history: History, first: int, last: int, matrix: Matrix, oracle: Path | None, seed: int) -> Stretch:
    claims = history.claims.filter((_.row >= first) & (_.row < last)).order_by("row")
    names = [*_FACTS, "item_id"] + ([REGION] if REGION in history.signals else [])
    table = claims.select(*dict.fromkeys(names)).to_pyarrow()
    facts = {name: table[name].to_pylist() for name in table.column_names}
    at = np.array(facts["submitted_at"], dtype=np.int64)
    amount = np.array(facts["amount"], dtype=np.float64)
    decisions = _decisions(history, facts["claim_id"])
    newest = labels_at(history, None).set_index("row")[["label", "audit_probability"]]
    known = newest.reindex(np.arange(first, last))
    # A history in which people alone decided has nothing to be compared with.
    said = bool((decisions["decision"] == "approve").any())
    drawn = decisions["audit_selected"].astype(object).fillna(False).astype(bool).to_numpy()
    ages = _ages(facts, matrix, at)
    return Stretch(
        when=at,
        amount=amount,
        facts=facts,
        quota=_quota_facts(history, facts, matrix, first, last, at),
        repeated=_repeated(facts),
        truth=read_truth(known, decisions, None if oracle is None else read_oracle(oracle, facts["claim_id"])),
        decided=(decisions["decision"] == "approve").to_numpy(bool) if said else None,
        audited=drawn if said else None,
        draw=np.random.default_rng([seed, 1]).random(len(at)),
        merchant_orders=_merchant_orders(history, facts["merchant_id"], np.array(facts["as_of"], dtype=np.int64)),
        account_days=ages,
        region=np.array(facts[REGION], dtype=object) if REGION in facts else None,
    )


def _decisions(history: History, claims: list[str]) -> pd.DataFrame:
    """A row a claim with the columns of `DECISIONS`, missing where the history does not say."""
    if problems := decision_problems(history):
        raise HistoryError(problems)
    chosen = history.decisions.select("claim_id", *DECISIONS)
    frame: pd.DataFrame = chosen.to_pyarrow().to_pandas()
    found = frame.set_index("claim_id").reindex(claims).reset_index(drop=True)
    return found.astype(object).where(found.notna(), None)


def read_oracle(file: Path, claims: list[str]) -> Flags:
    """What a simulator knows of each claim; a HistoryError where it does not know all of them."""
    frame = pd.read_parquet(file, columns=["claim_id", "abuse"])
    found = frame.drop_duplicates("claim_id").set_index("claim_id")["abuse"].reindex(claims)
    if missing := int(found.isna().sum()):
        raise HistoryError([Problem(f"{file.name}.claim_id", f"{missing:,} of {len(claims):,} claims of the stretch are not in it")])
    return found.to_numpy(bool)


def _ages(facts: Mapping[str, list[Any]], matrix: Matrix, at: Integers) -> Floats:
    registered = np.array([np.nan if moment is None else moment for moment in facts["registered_at"]], dtype=np.float64)
    days = (at - registered) / DAY
    first = matrix.values[:, matrix.columns.index("buyer_hours_since_first_order")] / 24.0
    return np.where(np.isnan(days), first, days)


def _quota_facts(
    history: History, facts: Mapping[str, list[Any]], matrix: Matrix, first: int, last: int, at: Integers
) -> quotas.Claims:
    currency = facts["currency"]
    codes, words = pd.factorize(np.array([word or "" for word in currency], dtype=object))
    keys = {}
    for kind in quotas.SETTLING[:-1]:
        numbers, _names = pd.factorize(np.array(facts[f"{kind}_id"], dtype=object))
        keys[kind] = np.where(numbers < 0, -1, numbers * len(words) + codes).tolist()
    registered = np.array([at_ if moment is None else moment for moment, at_ in zip(facts["registered_at"], at, strict=True)])
    names = ("buyer_orders_365d", "buyer_order_amount_mean_365d", "buyer_abuse_365d")
    orders, price, abuse = (matrix.values[:, matrix.columns.index(name)] for name in names)
    returned = facts["return_received_at"]
    return quotas.Claims(
        at=at.tolist(),
        amount=facts["amount"],
        currency=currency,
        keys=keys,
        orders=np.nan_to_num(orders).astype(np.int64).tolist(),
        # The feature is the quotient of two whole numbers, of which this is the upper one.
        spent=np.rint(np.nan_to_num(orders * price)).astype(np.int64).tolist(),
        abuse=np.nan_to_num(abuse).astype(np.int64).tolist(),
        account_days=((at - registered) / DAY).tolist(),
        comes_back=[remedy == "return_and_refund" for remedy in facts["remedy"]],
        returned_at=returned,
        returns_told=any(moment is not None and moment > at_ for moment, at_ in zip(returned, at.tolist(), strict=True)),
        labels=_labels_known(history, first, last),
    )


def _labels_known(history: History, first: int, last: int) -> dict[int, list[tuple[int, str]]]:
    """By place in the stretch: from when on each label was known; of two at once the graver is the later one."""
    chosen = history.claims.filter((_.row >= first) & (_.row < last)).select("claim_id", "row")
    gravity = _.label.cases(("undecided", 0), ("legitimate", 1), ("abuse", 2), else_=-1)
    rows = history.labels.inner_join(chosen, "claim_id").mutate(gravity=gravity).order_by(["row", "known_at", "gravity"])
    found: dict[int, list[tuple[int, str]]] = {}
    for row, moment, label in zip(*rows.select("row", "known_at", "label").to_pyarrow().to_pydict().values(), strict=True):
        known = found.setdefault(row - first, [])
        # A heap of events does not keep the order of equal moments.
        if known and known[-1][0] == moment:
            known.pop()
        known.append((moment, label))
    return found


def _repeated(facts: Mapping[str, list[Any]]) -> dict[int, dict[str, Any]]:
    counts = pd.Series(facts["order_id"], dtype=object).map(pd.Series(facts["order_id"], dtype=object).value_counts())
    places = np.flatnonzero((counts > 1).to_numpy())
    return {int(place): {name: values[place] for name, values in facts.items()} for place in places}


def _merchant_orders(history: History, merchants: list[str], as_of: Integers) -> Integers:
    """Orders of each claim's merchant known in the 365 days before it."""
    known = history.orders.select("merchant_id", moment=_.known_at.coalesce(_.paid_at)).to_pyarrow().to_pandas()
    times = {merchant: np.sort(group.to_numpy()) for merchant, group in known.groupby("merchant_id", observed=True)["moment"]}
    counts = np.zeros(len(merchants), dtype=np.int64)
    for merchant, places in pd.Series(range(len(merchants))).groupby(np.array(merchants, dtype=object)):
        if (moments := times.get(merchant)) is not None:
            now = as_of[places.to_numpy()]
            counts[places.to_numpy()] = np.searchsorted(moments, now) - np.searchsorted(moments, now - YEAR)
    return counts


def local_hours(at: Integers) -> tuple[Integers, Integers]:
    """Weekday (0 is Monday) and hour of each moment on the marketplace's own clock."""
    local = at + load_features().utc_offset
    return (local // DAY + 3) % 7, (local // (DAY // 24)) % 24
