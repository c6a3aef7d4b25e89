"""Quotas of a replay against a plain reckoning that looks at everything that was known, anew for each claim."""

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from risk.promise.appetite import Appetite, load_appetite
from risk.promise.quota import KINDS
from training.backtest.quotas import DAY, HOUR, SETTLING, Book, Claims, Ledger
from training.backtest.reviewers import backlog, serve

_PARTIES = ("buyer", "device", "address", "payment")


def _appetite(**limits: int) -> Appetite:
    data = load_appetite().model_dump()
    data["segment"] = [{"name": "small", "largest": {"CNY": 10}}]
    data["quota"] = {kind: {"CNY": limits.get(kind, 10**9)} for kind in KINDS if kind != "buyer"} | {"settle_days": 3.0}
    data["trust"] = {
        "after_loss_days": 4.0,
        "step": [
            {"name": "new", "limit": {"CNY": limits.get("buyer", 12)}},
            {"name": "known", "settled": 1, "orders": 2, "spent": 10, "limit": {"CNY": limits.get("buyer", 12) + 13}},
        ],
    }
    return Appetite.model_validate(data)


@st.composite
def _stretches(draw: st.DrawFn) -> tuple[Claims, Appetite]:
    """Few parties, short times, every moment its own, so that everything meets."""
    size, tick = draw(st.integers(1, 25)), count()

    def moment(low: int, high: int) -> int:
        return draw(st.integers(low, high)) * HOUR + next(tick)

    at = sorted(moment(0, 10 * 24) for _ in range(size))
    numbers = st.integers(-1, 2)
    labels = {
        place: sorted((at[place] + moment(1, 150), draw(st.sampled_from(("abuse", "legitimate", "undecided")))) for _ in range(draw(st.integers(0, 3))))
        for place in range(size)
    }
    claims = Claims(
        at=at,
        amount=[draw(st.integers(1, 10)) for _ in at],
        currency=["CNY"] * size,
        keys={kind: [draw(numbers if kind != "buyer" else st.integers(0, 2)) for _ in at] for kind in SETTLING},
        orders=[draw(st.integers(0, 4)) for _ in at],
        spent=[draw(st.integers(0, 40)) for _ in at],
        abuse=[draw(st.sampled_from((0, 0, 0, 1))) for _ in at],
        account_days=[0.0] * size,
        comes_back=[draw(st.booleans()) for _ in at],
        returned_at=[draw(st.sampled_from((None, at_ - 5, at_ + moment(1, 120)))) for at_ in at],
        returns_told=draw(st.booleans()),
        labels={place: known for place, known in labels.items() if known},
    )
    limits = {kind: draw(st.integers(10, 40)) for kind in KINDS}
    return claims, _appetite(**limits)


def _fate(claims: Claims, appetite: Appetite, claim: int, now: int) -> str:
    """What is known of an approval just before a moment."""
    settle = round(appetite.quota.settle_days * DAY)
    at, returned, back_needed = claims.at[claim], claims.returned_at[claim], claims.comes_back[claim]
    label = next((word for moment, word in reversed(claims.labels.get(claim, [])) if moment < now), None)
    due = at + settle < now
    back = returned is not None and returned < now
    if label == "abuse":
        return "lost"
    if back_needed and due and not back and claims.returns_told:
        return "lost"
    came = back and returned is not None and returned > at
    if came:
        return "recovered" if returned is not None and returned > at + settle else "settled"
    if label == "legitimate" and (back or not back_needed or not claims.returns_told):
        return "settled"
    return "settled" if due else "open"


def _lost_since(claims: Claims, appetite: Appetite, claim: int, now: int) -> int | None:
    """When the loss was known that holds just before a moment."""
    settle, at, returned = round(appetite.quota.settle_days * DAY), claims.at[claim], claims.returned_at[claim]
    moments = sorted({at + settle, *([returned] if returned else []), *(moment for moment, _ in claims.labels.get(claim, []))})
    since = None
    for moment in (moment for moment in moments if at < moment < now):
        lost = _fate(claims, appetite, claim, moment + 1) == "lost"
        since = (moment if since is None else since) if lost else None
    return since


def _plain(claims: Claims, appetite: Appetite) -> list[str | None]:
    """For each claim the quota that is full, or None; everything is added up anew each time."""
    approved: list[int] = []
    answers: list[str | None] = []
    for claim, now in enumerate(claims.at):
        fates = {other: _fate(claims, appetite, other, now) for other in approved}

        def used(kind: str, claim: int = claim, fates: dict[int, str] = fates) -> int:
            held = ("open", "lost") if kind in _PARTIES else ("open",)
            same = claims.keys[kind]
            return sum(claims.amount[other] for other, fate in fates.items() if fate in held and same[other] == same[claim])

        buyer = claims.keys["buyer"]
        settled = sum(fate == "settled" and buyer[other] == buyer[claim] for other, fate in fates.items())
        losses = [_lost_since(claims, appetite, other, now) for other, fate in fates.items() if fate == "lost" and buyer[other] == buyer[claim]]
        low, high = appetite.trust.step
        trusted = settled >= high.settled and claims.orders[claim] >= high.orders and claims.spent[claim] >= high.spent and not claims.abuse[claim]
        recent = any(moment is not None and now - moment < appetite.trust.after_loss_days * DAY for moment in losses)
        limits = {kind: getattr(appetite.quota, kind)["CNY"] for kind in KINDS if kind != "buyer"}
        limits["buyer"] = (high if trusted and not recent else low).limit["CNY"]
        full = [kind for kind in SETTLING if claims.keys[kind][claim] >= 0 and used(kind) + claims.amount[claim] > limits[kind]]
        for kind, length in (("hour", HOUR), ("day", DAY)):
            inside = sum(claims.amount[other] for other in approved if claims.at[other] // length == now // length)
            if inside + claims.amount[claim] > limits[kind]:
                full.append(kind)
        answers.append(full[0] if full else None)
        if not full:
            approved.append(claim)
    return answers


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_stretches())
def test_quotas_answer_as_a_plain_reckoning_of_everything_known(case: tuple[Claims, Appetite]) -> None:
    claims, appetite = case
    book, answers = Book(Ledger(claims, appetite)), []
    for claim in range(len(claims.at)):
        answers.append(book.full(claim))
        if answers[-1] is None:
            book.approve(claim)
    assert answers == _plain(claims, appetite)


def _one_buyer(at: list[int], amount: int = 10, **changes: object) -> Claims:
    size = len(at)
    plain: dict[str, object] = {
        "at": at, "amount": [amount] * size, "currency": ["CNY"] * size, "keys": {kind: [0] * size for kind in SETTLING},
        "orders": [9] * size, "spent": [900] * size, "abuse": [0] * size, "account_days": [900.0] * size, "comes_back": [False] * size,
        "returned_at": [None] * size, "returns_told": False, "labels": {},
    }  # fmt: skip
    return Claims(**plain | changes)  # type: ignore[arg-type]


def test_money_that_settled_leaves_room_and_lost_money_does_not() -> None:
    later = 3 * DAY + 2
    for labels, answer in (({}, None), ({0: [(1, "abuse")]}, "buyer")):
        book = Book(Ledger(_one_buyer([0, 1, later], labels=labels), _appetite(buyer=12)))
        assert book.full(0) is None
        book.approve(0)
        assert book.full(1) == "buyer"
        assert book.full(2) == answer


@pytest.mark.parametrize(("back_after", "answer"), [(2 * DAY, None), (4 * DAY, "buyer")])
def test_goods_that_came_back_in_time_are_trusted_for_and_late_ones_are_not(back_after: int, answer: str | None) -> None:
    claims = _one_buyer([0, 5 * DAY], amount=10, returned_at=[back_after, None], returns_told=True)
    book = Book(Ledger(replace(claims, amount=[10, 13]), _appetite(buyer=12)))
    assert book.full(0) is None
    book.approve(0)
    assert book.full(1) == answer


def test_a_currency_that_the_appetite_does_not_know_has_no_room() -> None:
    assert Book(Ledger(_one_buyer([0], currency=["XXX"]), _appetite())).full(0) == "buyer"


def test_where_no_currency_is_told_the_smallest_limit_of_all_counts() -> None:
    assert Book(Ledger(_one_buyer([0], currency=[None]), _appetite())).full(0) is None


# --- the reviewers -----------------------------------------------------------------------------------------------


def _second_by_second(reviews: list[int], audits: list[int], apart: int, takes: int) -> tuple[list[int], list[int]]:
    """A desk that looks at its two trays at every moment."""
    trays: dict[str, list[int]] = {"reviews": [], "audits": []}
    done: dict[str, dict[int, int]] = {"reviews": {}, "audits": {}}
    free, now = 0, 0
    while len(done["reviews"]) < len(reviews) or len(done["audits"]) < len(audits):
        trays["reviews"] += [place for place, moment in enumerate(reviews) if moment == now]
        trays["audits"] += [place for place, moment in enumerate(audits) if moment == now]
        if free <= now:
            tray = next((name for name in ("reviews", "audits") if trays[name]), None)
            if tray is not None:
                done[tray][trays[tray].pop(0)] = now + takes
                free = now + apart
        now += 1
    return [done["reviews"][place] for place in range(len(reviews))], [done["audits"][place] for place in range(len(audits))]


_MOMENTS = st.lists(st.integers(0, 60), max_size=15).map(sorted)


@settings(max_examples=300, deadline=None)
@given(_MOMENTS, _MOMENTS, st.integers(1, 7), st.integers(1, 9))
def test_reviewers_finish_as_a_desk_that_looks_at_its_trays_every_moment(
    reviews: list[int], audits: list[int], apart: int, takes: int
) -> None:
    served = serve(reviews, audits, apart=apart, takes=takes)
    assert (served.reviews.tolist(), served.audits.tolist()) == _second_by_second(reviews, audits, apart, takes)


def test_a_backlog_counts_what_has_come_and_is_not_finished() -> None:
    import numpy as np

    came, finished = np.array([1, 2, 3]), np.array([2, 5, 6])
    assert backlog(came, finished, np.array([0, 1, 2, 4, 6])).tolist() == [0, 1, 1, 2, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_quota_is_looked_at(kind: str) -> None:
    limits = {other: 10**6 for other in KINDS} | {kind: 10}
    book = Book(Ledger(_one_buyer([0, 1], orders=[0, 0]), _appetite(**limits)))
    assert book.full(0) is None
    book.approve(0)
    assert book.full(1) == kind
