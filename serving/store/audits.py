"""What the audits of approvals have shown under each certificate, and the alarm that they raise."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

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
_DAY = 86_400_000_000
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
    """The audits of a segment's approvals under a certificate, as of `now` (microseconds)."""
    found = _by_certificate(connection, segment, appetite, now)
    return found.get(certificate.certificate_id) or _audits([], segment, appetite, now)


def _by_certificate(connection: Connection, segment: Segment, appetite: Appetite, now: int) -> dict[str, Audits]:
    """By certificate, earlier ones included as long as labels of their audits may come: each is a watch of its own."""
    oldest = now - round((appetite.promise.valid_days + 2 * appetite.promise.mature_days) * _DAY)
    rows = connection.execute(_AUDITS, {"segment": segment.name, "oldest": oldest}).fetchall()
    return {str(name): _audits([row[1:] for row in part], segment, appetite, now) for name, part in groupby(rows, key=itemgetter(0))}


def _audits(rows: Sequence[Sequence[Any]], segment: Segment, appetite: Appetite, now: int) -> Audits:
    level = appetite.promise.watch_level / len(appetite.segment)
    outcomes = [_outcome(abuse, legitimate, due_at, now) for *_, due_at, abuse, legitimate in rows]
    bad = [outcomes[place] in ("abusive", "overdue") for place in _counted(rows, segment)]
    found = watch(np.array(bad, dtype=np.int8), appetite.alpha_of(segment), level)
    return Audits(segment.name, len(rows), outcomes.count("pending"), outcomes.count("overdue"), found, 1 / level)


def raise_alarms(connection: Connection, appetite: Appetite, now: int) -> list[str]:
    """Turn off the segments whose audits say that the promise does not hold any more; in the caller's transaction.

    What was approved under an earlier certificate raises the alarm too: labels come late, and a certificate that is issued
    meanwhile would otherwise blind the watch to them.
    """
    off = {row[0] for row in connection.execute("SELECT segment FROM switch WHERE NOT turned_on").fetchall()}
    turned = []
    for segment in appetite.segment:
        if segment.name in off:
            continue
        found = _by_certificate(connection, segment, appetite, now)
        value = max((audits.watched.value for audits in found.values()), default=1.0)
        metrics.WATCHED.labels(segment.name).set(value)
        for name, audits in found.items():
            if audits.watched.alarm_at is None:
                continue
            watched = audits.watched
            why = (
                f"{watched.abusive} of {watched.audits} audits under {name} are abusive, {audits.overdue} of them "
                f"because nobody decided in time: were the promise kept, a bet against it would have become {watched.highest:.0f} "
                f"with a chance of at most {1 / audits.needed:.1%} (alarm at {audits.needed:.0f})"
            )
            turn(connection, segment.name, on=False, who=WATCH, why=why)
            log.error("alarm", segment=segment.name, why=why)
            metrics.ALARMS.labels(segment.name).inc()
            turned.append(segment.name)
            break
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
    SELECT certificate_id, decision.claim_id, amount, currency, audit_probability, due_at, label.abuse, label.legitimate
    FROM decision
    JOIN review_case ON review_case.claim_id = decision.claim_id AND kind = 'audit'
    CROSS JOIN LATERAL (
      SELECT coalesce(sum(abuse), 0) AS abuse, coalesce(sum(legitimate), 0) AS legitimate
      FROM past WHERE past.claim_id = decision.claim_id
    ) AS label
    WHERE certificate_id IS NOT NULL AND segment = %(segment)s AND audit_selected AND decision = 'approve'
      AND decided_at >= %(oldest)s
      -- Whoever turned a segment on again answers for what was known then: the watch begins anew. Turning on what was on
      -- already answers for nothing.
      AND decided_at > coalesce((
        SELECT max(turned_at) FROM (
          SELECT turned_at, turned_on, lag(turned_on) OVER (ORDER BY seq) AS before FROM switch_turn WHERE segment = %(segment)s
        ) AS turn WHERE turned_on AND NOT before
      ), 0)
    ORDER BY certificate_id, decided_at, decision.claim_id
"""
