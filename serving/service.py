"""The way of a claim: look up, decide, write down in one transaction, answer."""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
import structlog
from pydantic_core import to_json

from risk import __version__
from risk.bundle import Bundle
from risk.claim import Claim, facts, microseconds, tracking_number
from risk.decision import Decider, Decision, Past
from risk.errors import RiskError, Unavailable
from risk.features import Value, load_features
from risk.gates import Gate, first_failed
from risk.policy.cover import UNJUDGED, Judgement
from risk.promise.appetite import Appetite
from risk.reasons import Reason, explain
from serving import metrics
from serving.answer import decision_part
from serving.champion import Champion
from serving.store.decisions import Decisions, Record, Stale, Taken
from serving.store.quotas import Crowded

log = structlog.get_logger()
DAY = 86_400_000_000
"""Microseconds."""
_ATTEMPTS = 10
"""Deciding anew where quotas are used up meanwhile; each time somebody else was approved."""


class Conflict(RiskError):
    """The claim id was used before with another body."""


@dataclass(frozen=True)
class _Case:
    """One claim on its way, with what was found for it."""

    claim: Claim
    body: str
    digest: bytes
    now: datetime
    past: Past
    bundle: Bundle | None
    preceding: tuple[Gate, ...]


def _once(claim: Claim, judgement: Judgement) -> str | None:
    """What guarantees that pay only once would pay for, whether they cover this claim yet or not, as JSON."""
    promises = judgement.policy.promises.get(claim.reason, ()) if judgement.policy is not None else ()
    kinds = sorted({kind for promise in promises for kind in promise.guarantee.single_use})
    ids = {"order": claim.order.order_id, "tracking_number": tracking_number(claim)}
    return to_json([[kind, ids[kind]] for kind in kinds if ids[kind] is not None]).decode() if kinds else None


def _rules_version(rules: str, judgement: Judgement) -> str:
    """The version of the gates' own rules, and what exactly the policy said: its version alone may be left as it was."""
    return rules if judgement.policy is None else f"{rules}, policy {judgement.policy.digest}"


def _appetite_version(appetite: Appetite) -> str:
    """The version, and what exactly it said: a version alone may be left as it was."""
    return f"{appetite.version}, {appetite.digest}"


@dataclass(frozen=True)
class ClaimService:
    """Decides claims. Clock, store and bundle are handed in."""

    decisions: Decisions
    champion: Champion
    decider: Decider
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def answer(self, claim: Claim) -> str:
        """The answer to a claim as JSON text, the same for every repeat.

        Raises Conflict, and Unavailable where no decision could be written down.
        """
        body = claim.model_dump_json(exclude_defaults=True)
        digest = hashlib.sha256(body.encode()).digest()
        steps = metrics.Steps()
        text = self._insist(claim, body, digest, steps)
        steps.publish()
        return text if text is not None else self._repeat(claim, digest)

    def _insist(self, claim: Claim, body: str, digest: bytes, steps: metrics.Steps) -> str | None:
        """As `_answer`; everything is looked at again where what was known is old by the time it is written down."""
        stale, spent = False, None
        for _attempt in range(_ATTEMPTS):
            try:
                return self._answer(claim, body, digest, steps)
            except Stale as error:
                # Held up on its way for seconds.
                if stale:
                    raise Unavailable("this server's clock and the database's are too far apart") from error
                stale = True
            except Crowded as crowded:
                # Others took it since the look-up, or the slot's share is used up and was dealt anew.
                spent = Gate("quota", False, f"others take the quota of the {crowded.kind} faster than it can be asked for")
        return self._answer(claim, body, digest, steps, spent)

    def _answer(self, claim: Claim, body: str, digest: bytes, steps: metrics.Steps, spent: Gate | None = None) -> str | None:
        """The answer of a claim that is decided now; None for one that is decided already.

        Raises Stale, and Crowded once there is room again or is known to be none; not with the failed gate `spent`.
        """
        now = self.clock()
        decided, past, doubt = self._look_up(claim, now)
        steps.done("look_up")
        if decided:
            return None
        bundle, version = self.champion.current()
        preceding = (
            Gate("bundle", bundle is not None, f"bundle {version}" if bundle else version),
            Gate("history", doubt is None, doubt or "the past of all parties was read"),
            *([spent] if spent else []),
        )
        case = _Case(claim, body, digest, now, past, bundle, preceding)
        decision = self._decide(case)
        steps.done("score")
        try:
            return self._write(case, decision, steps)
        except Taken as taken:
            gone = Gate(taken.gate, False, str(taken))
            again = self.decider.decide(claim, past, bundle, now, doubts=(*decision.gates[:2], gone))
            return self._write(case, again, steps)
        except Crowded as crowded:
            self.decisions.make_room(claim, decision.rooms, crowded.kind, decision.largest)
            raise

    def _look_up(self, claim: Claim, now: datetime) -> tuple[bool, Past, str | None]:
        try:
            decided, past = self.decisions.look_up(claim, microseconds(now))
        except psycopg.Error as error:
            log.warning("look_up_failed", claim_id=claim.claim_id, error=str(error))
            return False, Past(aggregates=None), f"the past could not be read: {type(error).__name__}"
        return decided, past, None

    def _decide(self, case: _Case) -> Decision:
        """The decision; where cover, a feature or the score cannot be computed, the claim goes to a person."""
        try:
            return self.decider.decide(case.claim, case.past, case.bundle, case.now, doubts=case.preceding)
        except Exception as error:
            log.exception("score_failed", claim_id=case.claim.claim_id, error=str(error))
            doubt = Gate("bundle", False, f"the claim could not be judged: {type(error).__name__}")
            unknown = Past(aggregates=None, order=case.past.order)
            doubts = (doubt, *case.preceding[1:])
            judged = self._judged(case)
            return self.decider.decide(case.claim, unknown, case.bundle, case.now, doubts=doubts, judgement=judged)

    def _judged(self, case: _Case) -> Judgement:
        """What the guarantees say, where the score failed: the reviewer is to know it all the same."""
        try:
            return self.decider.judge(case.claim, facts(case.claim), case.past)
        except Exception as error:
            log.exception("cover_failed", claim_id=case.claim.claim_id, error=str(error))
            return UNJUDGED

    def _write(self, case: _Case, decision: Decision, steps: metrics.Steps) -> str | None:
        """The answer once it is durable; None where another request decided this claim first."""
        reasons: tuple[Reason, ...] = ()
        if decision.decision == "review" and case.bundle is not None and decision.values is not None:
            reasons = self._reasons(case.claim.claim_id, case.bundle, decision.values)
            steps.done("explain")
        record = self._record(case, decision, reasons)
        steps.done("record")
        written = self.decisions.record(case.claim, record)
        steps.done("commit")
        if not written:
            return None
        self._tell(record, decision)
        return record.answer

    def _reasons(self, claim_id: str, bundle: Bundle, values: Sequence[Value]) -> tuple[Reason, ...]:
        """Why; none where that cannot be worked out, which must not keep a claim from its reviewer."""
        try:
            return explain(bundle, values)
        except Exception as error:
            log.exception("explanation_failed", claim_id=claim_id, error=str(error))
            return ()

    def _record(self, case: _Case, decision: Decision, reasons: tuple[Reason, ...]) -> Record:
        kind = "review" if decision.decision == "review" else "audit" if decision.audit.selected else None
        # In order of time: an index grows at its end for less than in the middle.
        case_id = f"case_{microseconds(case.now):014x}{secrets.token_hex(5)}" if kind else None
        decided_at, used, judgement = microseconds(case.now), case.past.order.approved, decision.judgement
        policy = judgement.policy.version if judgement.policy else "none"
        answer = decision_part(
            case.claim,
            decision,
            reasons,
            decided_at=decided_at,
            case_id=case_id,
            policy=policy,
            appetite=self.decider.appetite.version,
            used=used,
        )
        failed = first_failed(decision.gates)
        return Record(
            claim_id=case.claim.claim_id,
            digest=case.digest,
            decided_at=decided_at,
            decision=decision.decision,
            gate=failed.gate if failed else None,
            claim=case.body,
            answer=to_json(answer).decode(),
            feature_set=decision.model_version or load_features().fingerprint,
            features=to_json(decision.values).decode() if decision.values is not None else None,
            raw=decision.raw,
            score=decision.score,
            threshold=decision.threshold,
            model_version=decision.model_version,
            segment=decision.segment,
            certificate_id=decision.certificate_id,
            appetite_version=_appetite_version(self.decider.appetite),
            policy_version=policy,
            rules_version=_rules_version(self.decider.rules.version, judgement),
            guarantee=judgement.best.guarantee if judgement.best else None,
            once=_once(case.claim, judgement),
            bound=decision.bound,
            largest=decision.largest,
            code_version=__version__,
            audit_selected=decision.audit.selected,
            audit_probability=decision.audit.probability,
            case_id=case_id,
            case_kind=kind,
            settles_at=decided_at + round(self.decider.appetite.quota.settle_days * DAY) if decision.decision == "approve" else None,
            rooms=decision.rooms,
            due_at=decided_at + round(self.decider.appetite.promise.mature_days * DAY) if decision.audit.selected else None,
        )

    def explain_frozen(self, version: str, values: Sequence[Value]) -> tuple[Reason, ...]:
        """The reasons of an earlier decision from its frozen features; none where its bundle is not kept any more."""
        bundle = self.champion.kept(version)
        return explain(bundle, values) if bundle is not None else ()

    def _repeat(self, claim: Claim, digest: bytes) -> str:
        stored = self.decisions.stored(claim.claim_id)
        if stored is None or stored.digest != digest:
            metrics.CONFLICTS.inc()
            raise Conflict(f"claim {claim.claim_id!r} was decided before with another body")
        metrics.REPEATS.inc()
        return stored.answer

    def _tell(self, record: Record, decision: Decision) -> None:
        metrics.decided(record.decision, record.gate or "none").inc()
        if record.score is not None:
            metrics.SCORES.observe(record.score)
        for doubt in decision.gates[:2]:
            if not doubt.passed:
                metrics.DOUBTS.labels(doubt.gate).inc()
        log.info(
            "decision",
            claim_id=record.claim_id,
            decision=record.decision,
            gate=record.gate,
            score=record.score,
            model=record.model_version,
        )
