"""From a claim and what is known of its past to a decision: pure, so that a replay gives the same."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from risk.bundle import Bundle
from risk.claim import Claim, facts, item_ids, microseconds, parties
from risk.features import Aggregate, Calculator, Facts, FeatureSet, Value
from risk.features.cover import Parts, parts_of
from risk.features.definition import WINDOWS
from risk.gates import Gate, GateRules, all_gates, first_failed, left_for
from risk.order import UNKNOWN, OrderAccount
from risk.policy.cover import Judgement, judge_whole
from risk.policy.definition import Policies
from risk.policy.request import request_of, told_by_facts
from risk.promise.appetite import PARTIES, Appetite, Segment, TrustStep
from risk.promise.certificate import Standing, standing
from risk.promise.quota import Balances, Room, limits_of, quota_gate, rooms_of, shared_ids, step_of

_DAY = 86_400_000_000
_ORDERS = Aggregate("buyer", "sum", "orders", WINDOWS["365d"])
_SPENT = Aggregate("buyer", "sum", "order_amount", WINDOWS["365d"])
_ABUSE = Aggregate("buyer", "sum", "abuse", WINDOWS["365d"])
"""What of a buyer's past a trust step asks for."""


@dataclass(frozen=True)
class Past:
    """What the store knows as of the moment of the decision.

    `aggregates` stand in the order of `FeatureSet.aggregates`; None when they could not be read. `order` is what is known
    of the claim's order.
    """

    aggregates: Sequence[int | None] | None
    order: OrderAccount = UNKNOWN
    used: frozenset[str] = frozenset()
    """Of `order` and `tracking_number` of the claim: those for which a guarantee that pays only once was paid."""
    off: frozenset[str] = frozenset()
    """Segments, or `EVERYTHING`, for which approving at once is turned off."""
    balances: Balances = field(default_factory=Balances)
    """What is in use of the quotas of the claim."""


@dataclass(frozen=True)
class Audit:
    """Whether a claim is drawn, and with which probability it could have been.

    A drawn claim has to get a label, however it was decided: those labels are what certificates rest on.
    """

    selected: bool
    probability: float


@dataclass(frozen=True)
class Decision:
    """Everything that an answer says and a row freezes; reasons are computed from it where they are needed."""

    decision: Literal["approve", "review"]
    gates: tuple[Gate, ...]
    values: tuple[Value, ...] | None
    raw: float | None
    score: float | None
    threshold: float | None
    model_version: str | None
    segment: str | None
    certificate_id: str | None
    left: int
    audit: Audit
    judgement: Judgement
    bound: int
    """What the guarantees pay for the goods of the claim in all, whatever was asked for them before."""
    largest: int
    """What may be approved at once for one order."""
    rooms: tuple[Room, ...]
    """The quotas that an approval occupies."""


class Decider:
    """Decides claims with one feature set, one set of rules, the policies, an appetite, and one secret for the draws."""

    def __init__(
        self, *, features: FeatureSet, rules: GateRules, policies: Policies, appetite: Appetite, audit_secret: bytes
    ) -> None:
        self._calculator = Calculator(features)
        self.rules = rules
        self.appetite = appetite
        self._policies = policies
        self._secret = audit_secret
        self._limits: dict[tuple[str, str], Mapping[str, int]] = {}
        self._places = {wanted: features.aggregates.index(wanted) for wanted in (_ORDERS, _SPENT, _ABUSE) if wanted in features.aggregates}

    def decide(
        self,
        claim: Claim,
        past: Past,
        bundle: Bundle | None,
        now: datetime,
        *,
        doubts: Sequence[Gate] = (),
        judgement: Judgement | None = None,
    ) -> Decision:
        """Approve, or hand over to a person; `doubts` are failures met on the way, each as a failed gate.

        `judgement` stands in for that of the policies where judging or scoring failed before.
        """
        known, moment = facts(claim), microseconds(now)
        left, cover, bound = past.order.left(known), None, 0
        if judgement is None:
            whole = self._judged(claim, known, past)
            # What the score sees of cover is what the flat facts say; mostly that is the same, and judged once.
            cover = parts_of(whole, claim.amount) if told_by_facts(claim, whole.policy) else None
            judgement = whole.within(_counted(known, past), past.order.asked(item_ids(claim)))
            bound = whole.supported
        values = self._values(claim, known, past, bundle, moment, cover)
        raw = score = None
        if bundle is not None and values is not None:
            raw = bundle.raw_one(bundle.encode(values))
            score = bundle.calibrate_one(raw)
        segment = self.appetite.segment_of(known, judgement.best.guarantee if judgement.best else None)
        promised = self._standing(bundle, segment, moment)
        largest = self.appetite.largest_in(claim.currency)
        rooms = self._rooms(claim, known, past, judgement, moment)
        gates = (
            *doubts,
            *all_gates(
                known,
                order=past.order,
                judgement=judgement,
                standing=promised,
                segment=segment.name if segment else None,
                score=score,
                off=past.off,
                largest=largest,
                now=moment,
                rules=self.rules,
            ),
            quota_gate(rooms, claim.amount),
        )
        decision: Literal["approve", "review"] = "approve" if first_failed(gates) is None else "review"
        return Decision(
            decision=decision,
            gates=gates,
            values=values,
            raw=raw,
            score=score,
            threshold=promised.threshold,
            model_version=bundle.version if bundle is not None else None,
            segment=segment.name if segment else None,
            certificate_id=promised.certificate_id,
            left=left,
            audit=self._draw(claim, segment),
            judgement=judgement,
            bound=bound,
            largest=largest,
            rooms=rooms,
        )

    def _rooms(self, claim: Claim, known: Facts, past: Past, judgement: Judgement, moment: int) -> tuple[Room, ...]:
        """The quotas that an approval of the claim occupies, as far as is known of them."""
        step = self._step(known, past, moment)
        ids = parties(claim)
        guarantee = judgement.best.guarantee if judgement.best else None
        named = {**{kind: ids[kind] for kind in PARTIES}, **shared_ids(claim.merchant.merchant_id, guarantee, moment)}
        return rooms_of(self._limits_of(claim.currency, step), named, past.balances, step)

    def _limits_of(self, currency: str, step: TrustStep) -> Mapping[str, int]:
        found = self._limits.get((currency, step.name))
        if found is None:
            found = self._limits[currency, step.name] = limits_of(self.appetite, currency, step)
        return found

    def _step(self, known: Facts, past: Past, moment: int) -> TrustStep:
        """The buyer's trust step; the first where nothing is known of the past."""
        buyer, registered = past.balances.of("buyer"), known["registered_at"]
        return step_of(
            self.appetite,
            orders=self._counted(past, _ORDERS),
            spent=self._counted(past, _SPENT),
            settled=buyer.settled,
            account_days=0.0 if registered is None else (moment - registered) / _DAY,
            lost_at=buyer.lost_at,
            abuse=self._counted(past, _ABUSE),
            now=moment,
        )

    def _counted(self, past: Past, wanted: Aggregate) -> int:
        place = self._places.get(wanted)
        return 0 if past.aggregates is None or place is None else past.aggregates[place] or 0

    def _standing(self, bundle: Bundle | None, segment: Segment | None, moment: int) -> Standing:
        if bundle is None:
            return Standing(None, "without a bundle nothing is promised")
        return standing(bundle.certificate, segment, self.appetite, moment)

    def judge(self, claim: Claim, known: Facts, past: Past) -> Judgement:
        """What the policy that held at purchase says of the claim."""
        asked = past.order.asked(item_ids(claim))
        return self._judged(claim, known, past).within(_counted(known, past), asked)

    def _judged(self, claim: Claim, known: Facts, past: Past) -> Judgement:
        return judge_whole(self._policies.at(known["paid_at"]), request_of(claim, known, used=past.used))

    def _values(
        self, claim: Claim, known: Facts, past: Past, bundle: Bundle | None, moment: int, cover: Parts | None
    ) -> tuple[Value, ...] | None:
        if past.aggregates is None:
            return None
        values = self._calculator.values(past.aggregates, known, moment, cover=cover)
        return (*values, *(bundle.signal_values(claim.extra) if bundle is not None else ()))

    def _draw(self, claim: Claim, segment: Segment | None) -> Audit:
        """A draw from the claim's id alone: a repeat draws the same, and nobody without the secret can foresee it."""
        if segment is None:
            return Audit(selected=False, probability=0.0)
        probability = self.appetite.audit_probability(segment, claim.amount, claim.currency)
        digest = hmac.new(self._secret, claim.claim_id.encode(), hashlib.sha256).digest()
        uniform = int.from_bytes(digest[:8], "big") / 2**64
        return Audit(selected=uniform < probability, probability=probability)


def _counted(known: Facts, past: Past) -> int | None:
    """What is left of the order for the claim, if its money comes out of it."""
    left = left_for(known, past.order)
    return None if left is None else max(left, 0)
