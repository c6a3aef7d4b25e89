"""What the audits of the champion's approvals have shown since its certificate was issued, and the alarm that they raise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from risk.promise.appetite import Appetite, Segment
from risk.promise.certificate import Certificate
from risk.promise.thin import kept_of
from risk.promise.watch import Watched, watch
from serving import metrics
from serving.store.database import Connection
from serving.store.switch import turn

log = structlog.get_logger()
WATCH = "the watch"
"""Who turned a segment off, in the trail."""


@dataclass(frozen=True)
class Audits:
    """The audits of one segment under one certificate, in the order of their decisions.

    `drawn` counts all, `watched` those that count (draws with larger probabilities are thinned to the promise's), `pending`
    those that have no label and are not due yet, `overdue` those that have none although they are.
    """

    segment: str
    drawn: int
    pending: int
    overdue: int
    watched: Watched
    needed: float
    """The value at which the alarm is raised."""


def audits_of(connection: Connection, certificate: Certificate, segment: Segment, appetite: Appetite, now: int) -> Audits:
    """Read the audits of a segment as of `now` (microseconds)."""
    rows = connection.execute(_AUDITS, {"certificate": certificate.certificate_id, "segment": segment.name}).fetchall()
    level = appetite.promise.watch_level / len(appetite.segment)
    outcomes = [_outcome(abuse, legitimate, due_at, now) for *_, due_at, abuse, legitimate in rows]
    counted = _counted(rows, segment)
    evidence = certificate.segments.get(segment.name)
    alpha = evidence.alpha if evidence is not None else appetite.alpha_of(segment)
    found = watch(np.array([outcomes[place] == "abusive" or outcomes[place] == "overdue" for place in counted], dtype=np.int8), alpha, level)
    return Audits(segment.name, len(rows), outcomes.count("pending"), outcomes.count("overdue"), found, 1 / level)


def raise_alarms(connection: Connection, certificate: Certificate, appetite: Appetite, now: int) -> list[str]:
    """Turn off the segments whose audits say that the promise does not hold any more; in the caller's transaction."""
    off = {row[0] for row in connection.execute("SELECT segment FROM switch WHERE NOT turned_on").fetchall()}
    turned = []
    for segment in appetite.segment:
        if segment.name in off:
            continue
        found = audits_of(connection, certificate, segment, appetite, now)
        metrics.WATCHED.labels(segment.name).set(found.watched.value)
        if found.watched.alarm_at is None:
            continue
        watched = found.watched
        why = (
            f"{watched.abusive} of {watched.audits} audits under {certificate.certificate_id} are abusive, {found.overdue} of them "
            f"because nobody decided in time: were the promise kept, a bet against it would have become {watched.highest:.0f} "
            f"with a chance of at most {1 / found.needed:.1%} (alarm at {found.needed:.0f})"
        )
        turn(connection, segment.name, on=False, who=WATCH, why=why)
        log.error("alarm", segment=segment.name, why=why)
        metrics.ALARMS.labels(segment.name).inc()
        turned.append(segment.name)
    return turned


def _outcome(abuse: int, legitimate: int, due_at: int | None, now: int) -> str:
    if abuse > 0:
        return "abusive"
    if legitimate > 0:
        return "honest"
    # What is still open counts as honest, which keeps the alarm valid; what should be decided by now counts as abuse.
    return "overdue" if due_at is not None and due_at < now else "pending"


def _counted(rows: Sequence[Sequence[object]], segment: Segment) -> list[int]:
    """The audits that were drawn, or are kept as if they had been drawn, in proportion to their amount."""
    named = [(place, str(row[0]), row[1], segment.largest_in(str(row[2])), row[3]) for place, row in enumerate(rows)]
    known = [(place, claim_id, amount, largest, float(str(stored))) for place, claim_id, amount, largest, stored in named if largest]
    if not known:
        return []
    weight = np.array([float(str(amount)) / largest for _, _, amount, largest, _ in known])
    stored = np.array([probability for *_, probability in known])
    wanted = np.minimum(float((stored / weight).min()) * weight, stored)
    kept = kept_of([claim_id for _, claim_id, *_ in known], wanted=wanted, stored=stored)
    return [place for (place, *_), keep in zip(known, kept, strict=True) if keep]


_AUDITS = """
    SELECT decision.claim_id, amount, currency, audit_probability, due_at, label.abuse, label.legitimate
    FROM decision
    JOIN review_case ON review_case.claim_id = decision.claim_id AND kind = 'audit'
    CROSS JOIN LATERAL (
      SELECT coalesce(sum(abuse), 0) AS abuse, coalesce(sum(legitimate), 0) AS legitimate
      FROM past WHERE past.claim_id = decision.claim_id
    ) AS label
    WHERE certificate_id = %(certificate)s AND segment = %(segment)s AND audit_selected AND decision = 'approve'
      -- Whoever turned a segment on again answers for what was known then: the watch begins anew. Turning on what was on
      -- already answers for nothing.
      AND decided_at > coalesce((
        SELECT max(turned_at) FROM (
          SELECT turned_at, turned_on, lag(turned_on) OVER (ORDER BY seq) AS before FROM switch_turn WHERE segment = %(segment)s
        ) AS turn WHERE turned_on AND NOT before
      ), 0)
    ORDER BY decided_at, decision.claim_id
"""
