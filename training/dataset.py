"""The matrix that models are fitted on and scored with, and the label of each claim as known at a moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
from ibis import _
from ibis.expr.types import Table
from numpy.typing import NDArray
from tqdm import tqdm

from risk.bundle import Bundle
from risk.errors import HistoryError, Problem
from risk.features import FeatureSet, load_features
from training.features import feature_tables
from training.history import History

MOST_WORDS = 500
"""A categorical feature keeps its most frequent words; the rest are missing to the model."""
_GRAVITY = ("undecided", "legitimate", "abuse")


@dataclass(frozen=True)
class Matrix:
    """Features of consecutive claims: `values` has shape (claims, columns); words are held apart until encoded."""

    first: int
    columns: tuple[str, ...]
    values: NDArray[np.float64]
    words: Mapping[str, pa.DictionaryArray]

    def encoded(self, codes: Mapping[str, Mapping[str, int]]) -> NDArray[np.float64]:
        """The same array with each word replaced by its code, unseen ones by NaN; fills this matrix in place."""
        for name, words in self.words.items():
            known = codes.get(name, {})
            table = np.array([known.get(word, np.nan) for word in words.dictionary.to_pylist()] + [np.nan])
            places = words.indices.fill_null(len(words.dictionary)).to_numpy(zero_copy_only=False)
            self.values[:, self.columns.index(name)] = table[places]
        return self.values

    def vocabulary(self) -> dict[str, list[str]]:
        """The words of each categorical feature, most frequent first, ties in order of the alphabet."""
        return {name: _frequent(words) for name, words in self.words.items()}


def _frequent(words: pa.DictionaryArray) -> list[str]:
    indices = words.indices.drop_null().to_numpy(zero_copy_only=False)
    counts = np.bincount(indices, minlength=len(words.dictionary))
    ranked = sorted(zip(-counts, words.dictionary.to_pylist(), strict=True))
    return [word for count, word in ranked[:MOST_WORDS] if count]


def build_matrix(
    history: History,
    *,
    first: int = 0,
    last: int | None = None,
    signals: Sequence[str] | None = None,
    cover: pa.Table | None = None,
) -> Matrix:
    """Features of the claims with `first <= row < last`; `signals` are the caller's own columns to add.

    A signal that the history lacks is missing. `cover` has `row` and the features of cover where the claims were judged
    already (by policies of the caller's choice); else they are judged by the shipped ones.
    """
    features = load_features()
    wanted = history.signals if signals is None else tuple(signals)
    last = rows_until(history, None) if last is None else last
    columns = (*features.names, *wanted)
    values = np.full((last - first, len(columns)), np.nan)
    matrix = Matrix(first, columns, values, words := {})
    judged = features if cover is None else replace(features, own=tuple(own for own in features.own if own.kind != "cover"))
    parts = [*_parts(history, judged, first, last)]
    if present := [name for name in wanted if name in history.signals]:
        parts.append(history.claims.filter((_.row >= first) & (_.row < last)).select("row", *present))
    for part in tqdm(parts, desc="features", unit="table", disable=None):
        _fill(matrix, words, part.order_by("row").to_pyarrow())
    if cover is not None:
        _fill(matrix, words, cover)
    return matrix


def _parts(history: History, features: FeatureSet, first: int, last: int) -> list[Table]:
    return list(feature_tables(history, features, first=first, last=last))


def _fill(matrix: Matrix, words: dict[str, pa.DictionaryArray], table: pa.Table) -> None:
    for name in table.column_names[1:]:
        column = table[name].combine_chunks()
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            words[name] = column.dictionary_encode()
        else:
            numbers = column.cast(pa.float64(), safe=False)
            matrix.values[:, matrix.columns.index(name)] = numbers.to_numpy(zero_copy_only=False)


def rows_until(history: History, moment: int | None) -> int:
    """How many claims were submitted before `moment` (microseconds); all of them for None."""
    claims = history.claims if moment is None else history.claims.filter(_.submitted_at < moment)
    return int(claims.count().to_pyarrow().as_py())


def latest_labels(history: History, moment: int | None) -> Table:
    """The latest label of each claim known before `moment` (of two at once the graver), with the probability of its draw."""
    gravity = _.label.cases(*((word, rank) for rank, word in enumerate(_GRAVITY)), else_=-1)
    labels = history.labels if moment is None else history.labels.filter(_.known_at < moment)
    newest = ibis.row_number().over(group_by=_.claim_id, order_by=[_.known_at.desc(), gravity.desc()])
    drawn = _.audit_probability.max().over(group_by=_.claim_id)
    return labels.mutate(place=newest, audit_probability=drawn).filter(_.place == 0).drop("place")


def labels_at(history: History, moment: int | None) -> pd.DataFrame:
    """The latest label of each claim known before `moment` (of two at once the graver), with its row and delay.

    Columns: row, submitted_at, known_at (microseconds), amount, label, audit_probability, approved. A claim that was
    once drawn for an audit keeps the probability of that draw when a later label replaces the audit's; where no label says
    it, that of `decisions` counts.
    """
    claims = history.claims.select("claim_id", "row", "submitted_at", "amount")
    decisions = history.decisions.select(
        "claim_id", "decision", drawn=ibis.ifelse(_.audit_selected, _.audit_probability, ibis.null("float64"))
    )
    joined = latest_labels(history, moment).inner_join(claims, "claim_id").left_join(decisions, "claim_id")
    frame: pd.DataFrame = (
        joined.mutate(
            approved=(_.decision == "approve").fill_null(False), audit_probability=ibis.coalesce(_.audit_probability, _.drawn)
        )
        .select("row", "submitted_at", "known_at", "amount", "label", "audit_probability", "approved")
        .order_by("row")
        .to_pyarrow()
        .to_pandas()
    )
    return frame


def scored_claims(history: History, bundle: Bundle, start: int, end: int) -> pd.DataFrame:
    """Claims submitted in [start, end) with their score, their label as known at the end of the history, and features.

    Raises HistoryError where there is no such claim.
    """
    first, last = rows_until(history, start), rows_until(history, end)
    if first >= last:
        raise HistoryError([Problem("claims.submitted_at", "no claim in the stretch asked for")])
    matrix = build_matrix(history, first=first, last=last, signals=bundle.signals)
    words = pd.DataFrame({name: pd.Series(column.to_pandas(), dtype=object) for name, column in matrix.words.items()})
    raw = bundle.raw(matrix.encoded(bundle.codes), threads=0)
    numbers = pd.DataFrame(matrix.values, columns=list(matrix.columns)).drop(columns=["amount", *words])
    rows = history.claims.filter((_.row >= first) & (_.row < last)).order_by("row")
    own = rows.select("row", "claim_id", "submitted_at", "amount").to_pyarrow().to_pandas()
    own["submitted_at"] = pd.to_datetime(own["submitted_at"], unit="us", utc=True)
    labels = labels_at(history, None).set_index("row")[["label", "audit_probability"]]
    head = own.join(labels, on="row").assign(raw=raw, score=bundle.calibrate(raw))
    return pd.concat([head.drop(columns="row"), numbers, words], axis=1)
