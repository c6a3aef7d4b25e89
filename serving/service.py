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
from risk.claim import Claim, microseconds
from risk.decision import Decider, Decision, Past
from risk.errors import RiskError
from risk.features import Value, load_features
from risk.gates import Gate, first_failed
from risk.reasons import Reason, explain
from serving import metrics
from serving.answer import decision_part
from serving.champion import Champion
from serving.store.decisions import Decisions, OrderSpent, Record

log = structlog.get_logger()


class Conflict(RiskError):
    """The claim id was used before with another body."""


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
        steps = metrics.Steps()
        body = claim.model_dump_json(exclude_defaults=True)
        digest = hashlib.sha256(body.encode()).digest()
        now = self.clock()
        with steps.step("look_up"):
            decided, past, doubt = self._look_up(claim, now)
        if decided:
            return self._repeat(claim, digest)
        bundle, version = self.champion.current()
        preceding = (
            Gate("bundle", bundle is not None, f"bundle {version}" if bundle else version),
            Gate("history", doubt is None, doubt or "the past of all parties was read"),
        )
        with steps.step("score"):
            decision = self._decide(claim, past, bundle, now, preceding)
        text = self._write(claim, body, digest, now, past, bundle, decision, steps)
        if text is None:
            return self._repeat(claim, digest)
        steps.publish()
        return text

    def _look_up(self, claim: Claim, now: datetime) -> tuple[bool, Past, str | None]:
        try:
            decided, past = self.decisions.look_up(claim, microseconds(now))
        except psycopg.Error as error:
            log.warning("look_up_failed", claim_id=claim.claim_id, error=str(error))
            return False, Past(aggregates=None), f"the past could not be read: {type(error).__name__}"
        return decided, past, None

    def _decide(
        self, claim: Claim, past: Past, bundle: Bundle | None, now: datetime, preceding: tuple[Gate, ...]
    ) -> Decision:
        """The decision; where a feature or the score cannot be computed, the claim goes to a person."""
        try:
            return self.decider.decide(claim, past, bundle, now, doubts=preceding)
        except Exception as error:
            log.exception("score_failed", claim_id=claim.claim_id, error=str(error))
            doubt = Gate("bundle", False, f"the score could not be computed: {type(error).__name__}")
            unknown = Past(aggregates=None, approved=past.approved)
            return self.decider.decide(claim, unknown, bundle, now, doubts=(doubt, *preceding[1:]))

    def _write(
        self,
        claim: Claim,
        body: str,
        digest: bytes,
        now: datetime,
        past: Past,
        bundle: Bundle | None,
        decision: Decision,
        steps: metrics.Steps,
    ) -> str | None:
        """The answer once it is durable; None where another request decided this claim first."""
        with steps.step("explain"):
            reasons = self._reasons(bundle, decision)
        record = self._record(claim, body, digest, now, past, decision, reasons)
        try:
            with steps.step("commit"):
                written = self.decisions.record(claim, record)
        except OrderSpent:
            spent = Gate("order_reservation", False, "another claim took what was left of the order at the same moment")
            again = self.decider.decide(claim, past, bundle, now, doubts=(*decision.gates[:2], spent))
            return self._write(claim, body, digest, now, past, bundle, again, steps)
        if written:
            self._tell(claim, decision)
        return record.answer if written else None

    def _reasons(self, bundle: Bundle | None, decision: Decision) -> tuple[Reason, ...]:
        if bundle is None or decision.values is None or decision.decision == "approve":
            return ()
        return explain(bundle, decision.values)

    def _record(
        self, claim: Claim, body: str, digest: bytes, now: datetime, past: Past, decision: Decision, reasons: tuple[Reason, ...]
    ) -> Record:
        kind = "review" if decision.decision == "review" else "audit" if decision.audit.selected else None
        case_id = f"case_{secrets.token_hex(12)}" if kind else None
        decided_at, policy = microseconds(now), self.decider.rules.version
        answer = decision_part(
            claim, decision, reasons, decided_at=decided_at, case_id=case_id, policy=policy, used=past.approved
        )
        failed = first_failed(decision.gates)
        return Record(
            claim_id=claim.claim_id,
            digest=digest,
            decided_at=decided_at,
            decision=decision.decision,
            gate=failed.gate if failed else None,
            claim=body,
            answer=to_json(answer).decode(),
            feature_set=decision.model_version or load_features().fingerprint,
            features=to_json(decision.values).decode() if decision.values is not None else None,
            raw=decision.raw,
            score=decision.score,
            threshold=decision.threshold,
            model_version=decision.model_version,
            policy_version=policy,
            code_version=__version__,
            audit_selected=decision.audit.selected,
            audit_probability=decision.audit.probability,
            most=decision.left + past.approved,
            case_id=case_id,
            case_kind=kind,
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

    def _tell(self, claim: Claim, decision: Decision) -> None:
        failed = first_failed(decision.gates)
        gate = failed.gate if failed else "none"
        metrics.DECISIONS.labels(decision.decision, gate).inc()
        if decision.score is not None:
            metrics.SCORES.observe(decision.score)
        for doubt in decision.gates[:2]:
            if not doubt.passed:
                metrics.DOUBTS.labels(doubt.gate).inc()
        log.info(
            "decision", claim_id=claim.claim_id, decision=decision.decision, gate=gate, score=decision.score,
            amount=claim.amount, model=decision.model_version,
        )  # fmt: skip
