"""Answers as the contract writes them, for reading and for the interface description."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from risk.claim import Claim, Moment
from risk.decision import Decision
from risk.order import out_of_order
from risk.policy.cover import Judgement
from risk.policy.texts import sentences
from risk.promise.certificate import Standing
from risk.reasons import Reason
from serving.store.audits import Audits

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Part(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(extra="forbid")


class Sentence(Part):
    en: str
    zh: str


class CoverAnswer(Part):
    guarantee: str = Field(description="Its code, as the policy has it.")
    status: Literal["covered", "not_covered", "unproven"] = Field(
        description="`unproven` where a fact or a proof is missing that would decide it: `needs` says which."
    )
    clause: str = Field(description="The rule that decided: guarantee and kind, as the policy has them.")
    detail: str = Field(description="The clause and the fact that it was judged by, for a reviewer.")
    max_amount: int = Field(description="The most that it pays for the claim, in minor units, within what is left of the order.")
    needs: list[str] = Field(description="What is missing, as places in the claim; alternatives joined by `|`.")
    text: Sentence = Field(description="For the buyer.")


class RiskAnswer(Part):
    score: float | None = Field(description="Calibrated probability of abuse; null where none could be computed.")
    threshold: float | None = Field(description="Up to which score the certificate lets a claim of its segment pass; null where to none.")
    model_version: str | None
    segment: str | None = Field(description="The claims that this one is promised something together with; null where it fits none.")
    certificate_id: str | None


class MovedAnswer(Part):
    name: str
    value: float | int | str | None
    weight: float


class ReasonAnswer(Part):
    code: str
    direction: Literal["raises", "lowers"]
    weight: float = Field(description="What the group adds to the log-odds of abuse.")
    text: Sentence
    features: list[MovedAnswer]


class GateAnswer(Part):
    gate: str = Field(description="One check between the claim and its decision; they stand in a fixed order.")
    passed: bool = Field(description="A gate that did not let the claim pass sends it to a person; none of them denies.")
    detail: str = Field(description="What the gate saw, for a reviewer.")


class QuotaAnswer(Part):
    limit: int = Field(description="The most that this service may approve for the order, in minor units.")
    used: int = Field(description="What it approved for the order before this claim.")
    reserved: int = Field(description="What this decision adds; 0 where nothing is approved or the money is not out of the order.")


class RoomAnswer(Part):
    party: str = Field(description="`buyer`, `device`, `address`, `payment`; a merchant, guarantee, hour or day only where it is full.")
    step: str | None = Field(description="The buyer's trust step; null for others.")
    limit: int | None = Field(description="The most that may be out at once; null in a currency without a quota.")
    used: int | None = Field(description="What was out, or lost, before this claim.")
    reserved: int = Field(description="What this decision adds; 0 where nothing is approved.")


class AuditAnswer(Part):
    selected: bool = Field(description="Whether the claim was drawn: then it has to get a label, however it was decided.")
    probability: float = Field(description="With which probability it could have been.")


class DecisionAnswer(Part):
    """The decision on one claim."""

    claim_id: str
    decision: Literal["approve", "review"]
    decided_at: Moment
    guarantee: str | None = Field(description="Of those that cover the claim the one that is best for the buyer.")
    cover: list[CoverAnswer]
    needs: list[str] = Field(description="All that is missing for money at once, of the right that lacks least; alternatives joined by `|`.")
    risk: RiskAnswer
    reasons: list[ReasonAnswer]
    gates: list[GateAnswer]
    approved_amount: int
    quota: QuotaAnswer = Field(description="What may be approved at once for this order, and what has been.")
    quotas: list[RoomAnswer] = Field(description="What the parties of the claim have out at once, and may have.")
    audit: AuditAnswer
    case_id: str | None
    policy_version: str
    appetite_version: str = Field(description="Of the promise and the quotas by which it was decided.")


class ReviewState(Part):
    state: str
    kind: Literal["review", "audit"]
    opened_at: Moment
    due_at: Moment | None = Field(description="When a drawn claim has to have a label; null for one that was not drawn.")


class FrozenDecision(DecisionAnswer):
    """A decision as it was frozen, and what became of it."""

    review: ReviewState | None
    outcome: dict[str, Any] | None
    features: dict[str, float | int | str | None] | None


class CaseAnswer(Part):
    case_id: str
    claim_id: str
    kind: Literal["review", "audit"]
    state: str
    opened_at: Moment
    due_at: Moment | None = Field(description="When a drawn claim has to have a label; null for one that was not drawn.")
    amount: int
    currency: str
    gate: str | None
    score: float | None
    threshold: float | None
    reasons: list[ReasonAnswer]


class CaseList(Part):
    cases: list[CaseAnswer]
    next: str | None = Field(description="Pass as `after` for the next page; null on the last one.")


class TurnAnswer(Part):
    segment: str
    on: bool
    turned_at: Moment
    who: str
    why: str


class SwitchAnswer(Part):
    """Whether approving at once is turned on; a segment is only where `all` is, too."""

    switches: dict[str, bool]
    turns: list[TurnAnswer] = Field(description="The latest hundred, the newest first.")


class AuditsAnswer(Part):
    drawn: int = Field(description="Audits of approvals under the certificate, since the segment was last turned on.")
    counted: int = Field(description="Of them those that are watched; draws beyond the promise's own are thinned.")
    abusive: int = Field(description="Of the counted ones, overdue ones included.")
    pending: int
    overdue: int = Field(description="Audits that nobody decided by their due date; they count as abuse.")
    value: float = Field(description="What a stake of 1 on the promise being broken has become.")
    alarm: float = Field(description="The value at which the segment is turned off.")


class SegmentPromise(Part):
    segment: str
    on: bool
    threshold: float | None
    detail: str
    audits: AuditsAnswer | None


class PromiseAnswer(Part):
    """What is promised of the money approved at once, and what audits have shown since."""

    appetite_version: str
    certificate_id: str | None
    segments: list[SegmentPromise]


class ProblemPart(Part):
    pointer: str
    detail: str


class ProblemAnswer(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemPart] | None = None


class BatchAnswer(Part):
    answers: list[DecisionAnswer | ProblemAnswer]


class EventResult(Part):
    event_id: str
    status: Literal["recorded", "duplicate"]


class EventsAnswer(Part):
    events: list[EventResult]


def timestamp(moment: int) -> str:
    """Microseconds as RFC 3339."""
    return (_EPOCH + timedelta(microseconds=moment)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def reason_part(reason: Reason) -> dict[str, Any]:
    """One reason as JSON."""
    return {
        "code": reason.code,
        "direction": reason.direction,
        "weight": round(reason.weight, 6),
        "text": dict(reason.text),
        "features": [
            {"name": moved.feature, "value": moved.value, "weight": round(moved.weight, 6)} for moved in reason.features
        ],
    }


def cover_parts(judgement: Judgement) -> list[dict[str, Any]]:
    """What each guarantee says as JSON."""
    policy = judgement.policy
    if policy is None:
        return []
    return [
        {
            "guarantee": cover.guarantee,
            "status": cover.status,
            "clause": cover.clause,
            "detail": f"{cover.deciding.rule.en} ({cover.deciding.fact})" if cover.deciding else policy.guarantees[cover.guarantee].promise.en,
            "max_amount": cover.max_amount,
            "needs": list(cover.needs),
            "text": sentences(policy, cover),
        }
        for cover in judgement.covers
    ]


def decision_part(
    claim: Claim, decision: Decision, reasons: tuple[Reason, ...], *, decided_at: int, case_id: str | None, policy: str, appetite: str, used: int
) -> dict[str, Any]:
    """A decision as JSON."""
    approved = claim.amount if decision.decision == "approve" else 0
    best, reserved = decision.judgement.best, out_of_order(claim.remedy, claim.amount)
    return {
        "claim_id": claim.claim_id,
        "decision": decision.decision,
        "decided_at": timestamp(decided_at),
        "guarantee": best.guarantee if best else None,
        "cover": cover_parts(decision.judgement),
        "needs": list(decision.judgement.needs),
        "risk": {
            "score": decision.score,
            "threshold": decision.threshold,
            "model_version": decision.model_version,
            "segment": decision.segment,
            "certificate_id": decision.certificate_id,
        },
        "reasons": [reason_part(reason) for reason in reasons],
        "gates": [{"gate": gate.gate, "passed": gate.passed, "detail": gate.detail} for gate in decision.gates],
        "approved_amount": approved,
        "quota": {"limit": max(decision.left + used, 0), "used": used, "reserved": approved and reserved},
        "quotas": [
            {"party": room.kind, "step": room.step, "limit": room.limit, "used": room.used, "reserved": approved}
            for room in decision.rooms
            if room.used is not None
        ],
        "audit": {"selected": decision.audit.selected, "probability": decision.audit.probability},
        "case_id": case_id,
        "policy_version": policy,
        "appetite_version": appetite,
    }


def promise_part(segment: str, stands: Standing, audits: Audits | None, *, on: bool) -> dict[str, Any]:
    """What is promised of one segment as JSON."""
    part = {"segment": segment, "on": on, "threshold": stands.threshold, "detail": stands.detail, "audits": None}
    if audits is None:
        return part
    watched = audits.watched
    return part | {
        "audits": {
            "drawn": audits.drawn,
            "counted": watched.audits,
            "abusive": watched.abusive,
            "pending": audits.pending,
            "overdue": audits.overdue,
            "value": watched.value,
            "alarm": audits.needed,
        }
    }
