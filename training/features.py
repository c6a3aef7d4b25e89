"""All features of all claims of a history at once, as Ibis expressions.

Sums over a window are differences of running totals: the total of all events before *t* less the total of all before
*t - w*, each found by one as-of join. That grows with n log n whatever the longest history is, and is the very shape in
which the service keeps long histories (docs/adr/0002-running-totals.md).
"""

from collections.abc import Iterator
from functools import reduce

import ibis
from ibis import _
from ibis.expr.types import IntegerColumn, StringColumn, Table, Value

from risk.features import Aggregate, Entity, FeatureSet, Own, Windowed
from risk.features.cover import COLUMNS
from risk.features.definition import HOUR
from training.cover import PIECE, judged
from training.history import ENTITY_COLUMNS, History

_LABELS = ("abuse", "legitimate", "undecided")


@ibis.udf.scalar.builtin(name="length")
def _characters(text: str) -> int:
    """Number of characters."""


def event_log(history: History, features: FeatureSet) -> Table:
    """Every order, claim and change of a label as one row: when known, whose, and what it adds to each measure."""
    orders = history.orders.mutate(
        event=ibis.literal("order"), known_at=ibis.coalesce(_.known_at, _.paid_at), amount=_.paid_amount
    )
    claims = history.claims.mutate(event=ibis.literal("claim"), known_at=_.as_of)
    parts = {"order": orders, "claim": claims, "label": _label_changes(history)}
    return reduce(Table.union, (_log_rows(part, event, features) for event, part in parts.items()))


def _label_changes(history: History) -> Table:
    """What each label changes against the one known before it; a repeated label changes nothing.

    Two labels of one claim at the same moment: the graver counts last.
    """
    gravity = _.label.cases(("undecided", 0), ("legitimate", 1), ("abuse", 2), else_=0)
    before = _.label.lag().over(group_by=_.claim_id, order_by=[_.known_at, gravity])
    changes = history.labels.mutate(before=before)
    deltas = {label: (_.label == label).cast("int64") - (_.before == label).fill_null(False).cast("int64")
              for label in ("abuse", "legitimate")}  # fmt: skip
    keys = history.claims.select("claim_id", "amount", *ENTITY_COLUMNS)
    changed = changes.mutate(**deltas).filter((_.abuse != 0) | (_.legitimate != 0))
    return changed.inner_join(keys, "claim_id").mutate(event=ibis.literal("label"))


def _log_rows(part: Table, event: str, features: FeatureSet) -> Table:
    """A key that no feature over such events is looked up by stays empty: short histories stay short."""
    known = {"claim_id", *(entity.column for entity in features.concerned(event))} & {*part.columns}
    names = ("claim_id", *ENTITY_COLUMNS)
    columns = {name: part[name] if name in known else ibis.null("string") for name in names}
    for measure in features.measures:
        value: Value = {"one": ibis.literal(1, "int64")}.get(measure.value)
        if value is None:
            value = part[measure.value] if measure.value in part.columns else ibis.literal(0, "int64")
        counted = part.event == measure.event
        for column, words in (("reason", measure.reason), ("remedy", measure.remedy)):
            if words and column in part.columns:
                counted &= part[column].isin(words).fill_null(False)
        columns[measure.name] = ibis.ifelse(counted, value, 0).fill_null(0).cast("int64")
    row = part.row if "row" in part.columns else ibis.null("int64")
    return part.select("event", "known_at", row=row, **columns)


def feature_tables(history: History, features: FeatureSet, *, first: int = 0, last: int | None = None) -> Iterator[Table]:
    """One table an entity and one of the claim's own features, each with `row` and its feature columns.

    Only claims with `first <= row < last` come out; everything before them is still looked at.
    """
    chosen = history.claims.filter(_.row >= first)
    chosen = chosen if last is None else chosen.filter(_.row < last)
    log = history.connection.create_table("event_log", event_log(history, features), temp=True, overwrite=True)
    for entity in features.entities:
        yield entity_features(log, chosen, entity, features)
    yield own_features(chosen, features)
    if any(feature.kind == "cover" for feature in features.own):
        yield cover_features(history, chosen, features)


def entity_features(log: Table, spine: Table, entity: Entity, features: FeatureSet) -> Table:
    """The windowed features over one entity's past for each row of the spine (`row`, `as_of` and the key)."""
    operands = features.aggregates_of(entity)
    wanted = [feature for feature in features.windowed if feature.top.entity == entity.name]
    key = log[entity.column]
    events = log.filter(key.notnull()).mutate(key=key)
    rows = spine.select("row", "as_of", key=spine[entity.column])
    result = rows
    for addition in _aggregate_tables(events, rows, operands, features):
        result = result.left_join(addition, "row", rname="{name}_again").drop("row_again")
    return result.select("row", **{feature.name: _windowed(result, feature) for feature in wanted})


def _aggregate_tables(
    events: Table, spine: Table, operands: tuple[Aggregate, ...], features: FeatureSet
) -> Iterator[Table]:
    sums = [operand for operand in operands if operand.how == "sum"]
    if sums:
        yield _window_sums(events, spine, sums, features)
    for operand in operands:
        if operand.how in ("last", "first"):
            yield _nearest(events.filter(events[operand.of] > 0), spine, operand)
        elif operand.how in ("max", "distinct"):
            yield _framed(events.filter(_.event == "claim"), operand, features)


def _window_sums(events: Table, spine: Table, sums: list[Aggregate], features: FeatureSet) -> Table:
    measures = sorted({operand.of for operand in sums})
    kinds = {features.measure(name).event for name in measures}
    # Doubles hold these integers exactly up to 2^53, and DuckDB adds them five times faster than its wide integers.
    running = ibis.range_window(group_by="key", order_by="known_at", following=0)
    totals = (
        events.filter(_.event.isin(sorted(kinds)))
        .select("key", "known_at", **{name: _[name].cast("float64").sum().over(running) for name in measures})
    )
    now = _totals_before(totals, spine, 0, measures)
    result = now.rename({f"{name}_now": name for name in measures})
    for window in sorted({operand.window for operand in sums}):
        used = [operand for operand in sums if operand.window == window]
        then = _totals_before(totals, spine, window, [operand.of for operand in used])
        result = result.left_join(then, "row", rname="{name}_then").mutate(
            **{operand.name: (_[f"{operand.of}_now"] - _[operand.of]).cast("int64") for operand in used}
        )
        result = result.drop("row_then", *{operand.of for operand in used})
    return result.select("row", *[operand.name for operand in sums])


def _totals_before(totals: Table, spine: Table, window: int, measures: list[str]) -> Table:
    """Running totals of everything known strictly before `as_of - window`."""
    measures = sorted(set(measures))
    probes = spine.mutate(known_at=spine.as_of - window - 1)
    joined = probes.asof_join(totals.select("key", "known_at", *measures), "known_at", "key")
    return joined.select("row", **{name: joined[name].fill_null(0.0) for name in measures})


def _nearest(events: Table, spine: Table, operand: Aggregate) -> Table:
    """The moment of the last (or first) event within the window."""
    moments = events.select("key", moment=_.known_at)
    if operand.how == "last":
        probes = spine.mutate(probe=spine.as_of - 1)
        joined = probes.asof_join(moments, probes.probe >= moments.moment, "key")
    else:
        probes = spine.mutate(probe=spine.as_of - operand.window)
        joined = probes.asof_join(moments, probes.probe <= moments.moment, "key")
    inside = (joined.moment >= joined.as_of - operand.window) & (joined.moment < joined.as_of)
    return joined.select("row", **{operand.name: ibis.ifelse(inside, joined.moment, ibis.null("int64"))})


def _framed(claims: Table, operand: Aggregate, features: FeatureSet) -> Table:
    """Largest value or number of distinct parties among the claims of the window, by a window frame."""
    frame = ibis.range_window(group_by="key", order_by="known_at", preceding=(operand.window, 1))
    if operand.how == "max":
        value = claims[operand.of].max()
    else:
        column = next(entity.column for entity in features.entities if entity.name == operand.of)
        value = claims[column].nunique()
    framed = claims.mutate(**{operand.name: value.over(frame)})
    return framed.filter(_.row.notnull()).select("row", operand.name)


def _windowed(table: Table, feature: Windowed) -> Value:
    def total(operand: Aggregate) -> IntegerColumn:
        return ibis.greatest(table[operand.name].fill_null(0), 0)

    if feature.kind in ("since", "age"):
        return (table.as_of - table[feature.top.name]).cast("float64") / float(HOUR)
    if feature.kind == "max":
        return table[feature.top.name].cast("float64")
    if feature.kind == "ratio":
        below = reduce(lambda left, right: left + right, (total(operand) for operand in feature.bottom))
        return ibis.ifelse(below > 0, total(feature.top).cast("float64") / below.cast("float64"), ibis.null("float64"))
    return total(feature.top).cast("float64")


def own_features(claims: Table, features: FeatureSet) -> Table:
    """The features of the claim itself, cover apart."""
    own = [feature for feature in features.own if feature.kind != "cover"]
    return claims.select("row", **{feature.name: _own(claims, feature, features.utc_offset) for feature in own})


def cover_features(history: History, claims: Table, features: FeatureSet) -> Table:
    """The features of each claim's cover: judged one by one, as online."""
    bounds = claims.aggregate(count=_.count(), first=_.row.min(), last=_.row.max()).to_pyarrow().to_pylist()[0]
    starts = range(bounds["first"], bounds["last"] + 1, PIECE) if bounds["count"] else ()
    rows = claims.select("row", *COLUMNS)
    pieces = (rows.filter((_.row >= start) & (_.row < start + PIECE)).to_pyarrow() for start in starts)
    found = history.connection.create_table("cover", judged(pieces, bounds["count"]), temp=True, overwrite=True)
    return found.select("row", **{feature.name: found[feature.part] for feature in features.own if feature.kind == "cover"})


def _own(claims: Table, own: Own, utc_offset: int) -> Value:
    first = claims[own.columns[0]]
    match own.kind:
        case "value":
            return first.cast("float64")
        case "ratio":
            below = claims[own.columns[1]]
            return ibis.ifelse(below > 0, first.cast("float64") / below.cast("float64"), ibis.null("float64"))
        case "hours":
            return _hours(claims, own)
        case "length":
            return _characters(first).cast("float64")
        case "hour_of":
            return (((first + utc_offset) // HOUR) % 24).cast("float64")
        case "weekday_of":
            return (((first + utc_offset) // (24 * HOUR) + 3) % 7).cast("float64")
        case _:
            return _prefix(first, own.depth)


def _hours(claims: Table, own: Own) -> Value:
    first, last = (claims[name] for name in own.columns)
    elapsed = (last - first).cast("float64") / float(HOUR)
    if own.future:
        return elapsed
    known = (first <= claims.submitted_at) & (last <= claims.submitted_at)
    return ibis.ifelse(known, elapsed, ibis.null("float64"))


def _prefix(word: StringColumn, depth: int) -> Value:
    return word.re_extract(r"^([^.]*(?:\.[^.]*){0," + str(depth - 1) + "})", 1) if depth else word
