"""The watch: audits that cost more than was promised turn approving at once off for their segment, by themselves."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from risk.claim import microseconds
from risk.promise.appetite import load_appetite
from serving.housekeeping import WATCH_SECONDS, Housekeeping
from serving.store.audits import WATCH, audits_of, raise_alarms
from tests.conftest import Service
from tests.service import a_claim, a_label, an_outcome, failed, rows, wait_until

SEGMENTS = [segment.name for segment in load_appetite().segment]
MATURE = round(load_appetite().promise.mature_days * 86_400_000_000)


def audited(service: Service, wanted: int, *, amount: int = 30_000) -> list[str]:
    """Ids of approvals that were drawn for an audit."""
    found: list[str] = []
    while len(found) < wanted:
        claims = [a_claim(amount=amount, order={"paid_amount": amount}) for _ in range(100)]
        answers = service.api.post("/v1/claims:batch", {"claims": claims}).json["answers"]
        found += [a["claim_id"] for a in answers if a["decision"] == "approve" and a["audit"]["selected"]]
    return found[:wanted]


def watched(service: Service, *, later: int = 0) -> list[str]:
    """One round of the watch, so much later (microseconds); the segments that it turned off."""
    now = microseconds(service.parts.service.clock()) + later
    with service.parts.database.patient() as connection:
        return raise_alarms(connection, load_appetite(), now)


def label(service: Service, ids: list[str], word: str) -> None:
    for start in range(0, len(ids), 100):
        service.api.tell(*(a_label(claim_id, word, source="audit") for claim_id in ids[start : start + 100]))


def promise(service: Service, segment: str = "small") -> dict[str, Any]:
    parts: list[dict[str, Any]] = service.api.get("/v1/promise").json["segments"]
    return next(part for part in parts if part["segment"] == segment)


def test_audits_that_find_much_abuse_turn_their_segment_off_and_nothing_else(own_service: Service) -> None:
    ids = audited(own_service, 40)
    label(own_service, ids[:30], "legitimate")
    assert watched(own_service) == []
    label(own_service, ids[30:], "abuse")
    told = promise(own_service)["audits"]
    assert (told["drawn"] >= 40, told["abusive"], told["overdue"]) == (True, 10, 0)
    assert told["value"] > told["alarm"] == len(SEGMENTS) / load_appetite().promise.watch_level
    assert watched(own_service) == ["small"]
    assert failed(own_service.api.decide(a_claim())) == ["switch"]
    assert failed(own_service.api.decide(a_claim(amount=50_000, order={"paid_amount": 50_000}))) == []
    turn = own_service.api.get("/v1/switch").json["turns"][0]
    assert (turn["segment"], turn["on"], turn["who"]) == ("small", False, WATCH)
    assert "10 of " in turn["why"]
    assert "cert-test" in turn["why"]
    assert watched(own_service) == []


def test_the_housekeeping_watches_by_itself(own_service: Service) -> None:
    label(own_service, audited(own_service, 15), "abuse")
    wait_until(lambda: not promise(own_service)["on"], seconds=WATCH_SECONDS + 15, what="the switch is turned off")


def test_whoever_turns_a_segment_on_again_begins_a_new_watch(own_service: Service) -> None:
    label(own_service, audited(own_service, 15), "abuse")
    assert watched(own_service) == ["small"]
    assert own_service.api.post("/v1/switch", {"segment": "small", "on": True, "why": "looked at"}).status == 200
    assert watched(own_service) == []
    assert promise(own_service)["audits"]["drawn"] == 0
    label(own_service, audited(own_service, 15), "abuse")
    assert watched(own_service) == ["small"]


def test_turning_on_what_is_on_already_does_not_make_the_watch_forget(own_service: Service) -> None:
    own_service.app.extensions["housekeeping"].stopped.set()
    own_service.app.extensions["housekeeping"].join(15)
    label(own_service, audited(own_service, 15), "abuse")
    for segment in ("small", "all", "small"):
        assert own_service.api.post("/v1/switch", {"segment": segment, "on": True, "why": "a new version is out"}).status == 200
    assert promise(own_service)["audits"]["drawn"] >= 15
    assert watched(own_service) == ["small"]
    for _ in range(2):
        assert own_service.api.post("/v1/switch", {"segment": "small", "on": True, "why": "looked at"}).status == 200
    assert promise(own_service)["audits"]["drawn"] == 0


def test_audits_that_nobody_decides_count_as_honest_until_they_are_due_and_as_abuse_from_then_on(own_service: Service) -> None:
    audited(own_service, 15)
    assert watched(own_service) == []
    told = promise(own_service)["audits"]
    assert (told["pending"], told["abusive"], told["overdue"]) == (told["drawn"], 0, 0)
    assert watched(own_service, later=MATURE + 3_600_000_000) == ["small"]


def test_a_machine_whose_clock_is_ahead_raises_no_alarm_about_audits_that_are_not_due(own_service: Service) -> None:
    audited(own_service, 15)
    ahead = replace(own_service.parts.service, clock=lambda: datetime.now(UTC) + timedelta(days=60))
    Housekeeping(replace(own_service.parts, service=ahead)).once()
    assert promise(own_service)["on"] is True


def test_an_undecided_label_leaves_an_audit_open_and_a_later_one_closes_it(own_service: Service) -> None:
    [one] = audited(own_service, 1)
    for word, abusive, pending in (("undecided", 0, 1), ("abuse", 1, 0), ("legitimate", 0, 0), ("undecided", 0, 1)):
        label(own_service, [one], word)
        rest = len(rows(own_service.url, "SELECT 1 FROM review_case WHERE kind = 'audit' AND claim_id <> %s", one))
        told = promise(own_service)["audits"]
        assert (told["abusive"], told["pending"] - rest) == (abusive, pending)
        # What is still to be decided is on the list.
        listed = own_service.api.get("/v1/cases?kind=audit&limit=500").json["cases"]
        assert (one in [case["claim_id"] for case in listed]) == bool(pending)


def test_audits_that_find_what_was_promised_leave_the_segment_on(own_service: Service) -> None:
    ids = audited(own_service, 100)
    label(own_service, ids[::50], "abuse")
    label(own_service, [one for one in ids if one not in ids[::50]], "legitimate")
    assert watched(own_service) == []
    assert promise(own_service)["on"] is True


def test_draws_beyond_the_promise_are_thinned_before_they_are_watched(own_service: Service) -> None:
    ids = audited(own_service, 60)
    rows(own_service.url, "UPDATE decision SET audit_probability = 0.4 WHERE claim_id = ANY(%s)", ids[:30])
    bundle, _ = own_service.parts.champion.current()
    assert bundle is not None
    assert bundle.certificate is not None
    segment, now = load_appetite().segment[0], microseconds(own_service.parts.service.clock())
    with own_service.parts.database.patient() as connection:
        found = audits_of(connection, bundle.certificate, segment, load_appetite(), now)
    # Of those drawn twice as often about half are kept, the others all.
    assert found.drawn - 30 < found.watched.audits < found.drawn
    assert found.drawn - found.watched.audits == pytest.approx(15, abs=10)


def test_without_a_certificate_nothing_is_watched_and_the_promise_says_so(own_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_service.parts.champion, "current", lambda: (None, "gone"))
    told = own_service.api.get("/v1/promise").json
    assert told["certificate_id"] is None
    assert all((part["threshold"], part["audits"]) == (None, None) for part in told["segments"])
    own_service.app.extensions["housekeeping"].once()


def test_a_new_certificate_does_not_blind_the_watch_to_what_was_approved_under_the_one_before(own_service: Service) -> None:
    ids = audited(own_service, 15)
    rows(own_service.url, "UPDATE decision SET certificate_id = 'cert-before'")
    label(own_service, ids, "abuse")
    assert promise(own_service)["audits"]["drawn"] == 0
    assert watched(own_service) == ["small"]
    assert "under cert-before" in own_service.api.get("/v1/switch").json["turns"][0]["why"]


def test_a_drawn_review_stays_on_the_list_until_it_has_a_label_whatever_became_of_the_money(own_service: Service) -> None:
    api = own_service.api
    api.post("/v1/switch", {"on": False, "why": "all go to a person"})
    drawn = next(claim for claim in iter(lambda: a_claim(amount=30_000, order={"paid_amount": 30_000}), None) if api.decide(claim)["audit"]["selected"])
    api.tell(an_outcome(drawn["claim_id"], "refused"))
    found = api.read(drawn["claim_id"])["review"]
    assert (found["state"], found["kind"], found["due_at"] is not None) == ("open", "audit", True)
    assert drawn["claim_id"] in [case["claim_id"] for case in api.get("/v1/cases?kind=audit").json["cases"]]
    label(own_service, [drawn["claim_id"]], "legitimate")
    assert api.read(drawn["claim_id"])["review"]["state"] == "closed"


def test_a_drawn_review_that_has_its_label_is_done_with_its_outcome(own_service: Service) -> None:
    api = own_service.api
    api.post("/v1/switch", {"on": False, "why": "all go to a person"})
    drawn = next(claim for claim in iter(lambda: a_claim(amount=30_000, order={"paid_amount": 30_000}), None) if api.decide(claim)["audit"]["selected"])
    label(own_service, [drawn["claim_id"]], "abuse")
    assert api.read(drawn["claim_id"])["review"]["state"] == "open"
    api.tell(an_outcome(drawn["claim_id"], "refused"))
    found = api.read(drawn["claim_id"])["review"]
    assert (found["state"], found["kind"]) == ("closed", "review")
