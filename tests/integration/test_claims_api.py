"""The claims' side of the contract, over Flask and over a running service, on a real database."""

import json
import re
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
import requests
from jsonschema import Draft202012Validator

from risk.features import load_features
from risk.promise.appetite import load_appetite
from tests.conftest import Service
from tests.service import (
    ROOMY,
    SIGNAL,
    THRESHOLD,
    Answer,
    Api,
    Server,
    a_claim,
    a_label,
    an_outcome,
    at_once,
    failed,
    merged,
    new_key,
    rows,
    stamp,
    unique,
    value,
    wait_until,
)  # fmt: skip

APPETITE = load_appetite(ROOMY)
LARGEST = APPETITE.largest["CNY"]
ANSWER_FIELDS = {
    "claim_id", "decision", "decided_at", "guarantee", "cover", "needs", "risk", "reasons", "gates", "approved_amount", "quota", "quotas", "audit", "case_id",
    "policy_version", "appetite_version",
}  # fmt: skip
GATES = ["bundle", "history", "facts", "order", "order_amount", "cover", "remedy", "cover_amount", "express", "promise", "score", "switch", "quota"]


def is_problem(answer: Answer, status: int) -> bool:
    """Whether an error has the one shape that errors have."""
    body = answer.json
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= {*body} <= {"type", "title", "status", "detail", "errors"}
    assert body["status"] == status
    return True


def suspicious(api: Api) -> dict[str, Any]:
    """A claim of a buyer whose earlier claim was confirmed as abuse."""
    earlier = a_claim()
    api.decide(earlier)
    api.tell(a_label(earlier["claim_id"]))
    return a_claim(buyer=earlier["buyer"])


# --- the answer --------------------------------------------------------------------------------------------------


def test_an_approval_answers_every_field_of_the_contract(api: Api) -> None:
    claim = a_claim()
    answer = api.decide(claim)
    assert {*answer} == ANSWER_FIELDS
    drawn = answer["audit"]["selected"]
    assert (answer["claim_id"], answer["decision"], answer["case_id"] is not None) == (claim["claim_id"], "approve", drawn)
    assert datetime.fromisoformat(answer["decided_at"]).tzinfo is not None
    assert {*answer["risk"]} == {"score", "threshold", "model_version", "segment", "certificate_id"}
    assert 0 <= answer["risk"]["score"] <= answer["risk"]["threshold"] == THRESHOLD
    assert [gate["gate"] for gate in answer["gates"]] == GATES
    assert failed(answer) == []
    assert answer["approved_amount"] == claim["amount"]
    assert answer["quota"] == {"limit": 9_900, "used": 0, "reserved": 4_900}
    assert (answer["risk"]["segment"], answer["risk"]["certificate_id"]) == ("small", "cert-test")
    assert answer["audit"]["probability"] == 0.2 * 4_900 / 30_000
    assert answer["guarantee"] == "fresh_spoilage"
    assert [cover["status"] for cover in answer["cover"] if cover["guarantee"] == "fresh_spoilage"] == ["covered"]
    assert answer["policy_version"] == "cn-2026-02"


def test_a_review_has_a_case_and_reasons_in_both_languages(api: Api) -> None:
    answer = api.decide(suspicious(api))
    assert (answer["decision"], failed(answer), answer["approved_amount"]) == ("review", ["score"], 0)
    assert answer["case_id"].startswith("case_")
    assert answer["audit"]["probability"] == 0.2 * 4_900 / 30_000
    first = answer["reasons"][0]
    assert (first["code"], first["direction"]) == ("buyer_outcomes", "raises")
    assert first["text"] == {
        "en": "Earlier claims of this buyer were found not to be justified.",
        "zh": "该买家此前的申请曾被认定为不成立。",
    }
    weights = [abs(reason["weight"]) for reason in answer["reasons"]]
    assert weights == sorted(weights, reverse=True)


def test_the_answer_is_what_the_description_promises(api: Api) -> None:
    description = api.get("/openapi.json", key=None).json

    def holds(name: str, body: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": description["components"]}
        Draft202012Validator(schema).validate(body)

    claim = suspicious(api)
    holds("DecisionAnswer", api.decide(claim))
    holds("DecisionAnswer", api.decide(a_claim()))
    holds("FrozenDecision", api.read(claim["claim_id"]))
    holds("CaseList", api.get("/v1/cases").json)
    holds("BatchAnswer", api.post("/v1/claims:batch", {"claims": [a_claim(), claim | {"amount": 1}]}).json)
    holds("ProblemAnswer", api.post("/v1/claims", {}).json)
    holds("EventsAnswer", api.post("/v1/events", {"events": [a_label(claim["claim_id"])]}).json)


def test_a_decision_freezes_everything_that_it_rested_on(service: Service, api: Api) -> None:
    claim = suspicious(api)
    answer = api.decide(claim)
    columns = "claim, features, raw, score, threshold, model_version, policy_version, code_version, gate, audit_probability"
    columns += ", segment, certificate_id, appetite_version"
    body, features, raw, *rest = rows(service.url, f"SELECT {columns} FROM decision WHERE claim_id = %s", claim["claim_id"])[0]
    assert json.loads(body)["amount"] == claim["amount"]
    assert len(json.loads(features)) == len(load_features().names) + 1
    assert isinstance(raw, float)
    assert rest[:3] == [answer["risk"]["score"], THRESHOLD, answer["risk"]["model_version"]]
    assert rest[3] == answer["policy_version"]
    assert rest[5:] == ["score", answer["audit"]["probability"], "small", "cert-test", f"{APPETITE.version}, {APPETITE.digest}"]


def test_a_claim_adds_itself_to_the_past_of_all_its_parties_once(service: Service, api: Api) -> None:
    claim = a_claim(device={"device_id": unique("device")})
    for _ in range(3):
        api.decide(claim)
    found = rows(service.url, "SELECT buyer_id, device_id, claims, claim_amount FROM past WHERE claim_id = %s", claim["claim_id"])
    assert found == [(claim["buyer"]["buyer_id"], claim["device"]["device_id"], 1, 4_900)]


# --- one claim, one decision -------------------------------------------------------------------------------------


def test_a_repeat_gets_the_same_bytes(api: Api) -> None:
    for claim in (a_claim(), suspicious(api)):
        answers = [api.post("/v1/claims", claim) for _ in range(4)]
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1


def test_the_same_body_in_another_spelling_is_the_same_claim(api: Api) -> None:
    claim = a_claim(extra={"a": 1, "b": 2}, submitted_at="2026-11-01T10:00:00Z", order={"refunded_amount": None})
    first = api.post("/v1/claims", claim)
    backwards = dict(reversed(claim.items())) | {"extra": {"b": 2, "a": 1}, "submitted_at": "2026-11-01T10:00:00.000+00:00"}
    del backwards["order"]["refunded_amount"]
    again = api.post("/v1/claims", data=json.dumps(backwards, indent=4))
    assert (again.status, again.body) == (200, first.body)


@pytest.mark.parametrize("changes", [{"amount": 4_901}, {"order": {"paid_amount": 9_901}}, {"extra": {"a": 1}}])
def test_another_body_under_the_same_id_is_a_conflict_and_changes_nothing(api: Api, changes: dict[str, Any]) -> None:
    claim = a_claim()
    first = api.post("/v1/claims", claim)
    assert is_problem(api.post("/v1/claims", merged(claim, changes)), 409)
    assert api.post("/v1/claims", claim).body == first.body


def test_sixty_four_identical_claims_at_once_are_one_decision(server: Server) -> None:
    claim = a_claim(amount=LARGEST, order={"paid_amount": LARGEST})
    answers = at_once(lambda _: server.api.post("/v1/claims", claim), 64)
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    claim_id = claim["claim_id"]
    assert value(server.url, "SELECT count(*) FROM decision WHERE claim_id = %s", claim_id) == 1
    assert value(server.url, "SELECT count(*) FROM past WHERE claim_id = %s", claim_id) == 1
    assert value(server.url, "SELECT approved FROM order_account WHERE order_id = %s", claim["order"]["order_id"]) == LARGEST


def test_sixty_four_identical_claims_for_review_open_one_case(server: Server) -> None:
    claim = a_claim(evidence=[])
    answers = at_once(lambda _: server.api.post("/v1/claims", claim), 64)
    assert len({(answer.status, answer.body) for answer in answers}) == 1
    cases = rows(server.url, "SELECT case_id FROM review_case WHERE claim_id = %s", claim["claim_id"])
    assert cases == [(answers[0].json["case_id"],)]


def test_of_two_bodies_under_one_id_at_once_one_wins_and_the_other_is_always_a_conflict(server: Server) -> None:
    one = a_claim()
    bodies = (one, one | {"amount": 4_901})
    answers = at_once(lambda n: server.api.post("/v1/claims", bodies[n % 2]), 64)
    statuses = [{answer.status for answer in answers[side::2]} for side in (0, 1)]
    assert sorted(statuses, key=min) == [{200}, {409}]
    assert len({answer.body for answer in answers if answer.status == 200}) == 1
    assert value(server.url, "SELECT count(*) FROM decision WHERE claim_id = %s", one["claim_id"]) == 1


# --- what is refused ---------------------------------------------------------------------------------------------


def test_everything_that_is_wrong_is_named_at_once_with_pointers(api: Api) -> None:
    claim = a_claim(
        submitted_at="2026-01-01T10:00:00", amount=1.5, reason="because", colour="red", order={"paid_at": "yesterday"},
        items=[{"item_id": "", "category": "Food"}], buyer={"buyer_id": "x" * 129, "age": 5}, extra={"A/b~": 1, "c": []},
    )  # fmt: skip
    del claim["currency"]
    answer = api.post("/v1/claims", claim)
    assert is_problem(answer, 400)
    assert sorted(answer.pointers) == sorted(
        ["/submitted_at", "/amount", "/reason", "/colour", "/order/paid_at", "/items/0/item_id", "/items/0/category",
         "/buyer/buyer_id", "/buyer/age", "/extra/A~1b~0", "/extra/c", "/currency"]
    )  # fmt: skip
    details = {error["pointer"]: error["detail"] for error in answer.json["errors"]}
    assert details["/colour"] == details["/buyer/age"] == "unknown field"


def test_every_wrong_claim_of_a_batch_is_named_and_none_is_decided(service: Service, api: Api) -> None:
    good = a_claim()
    answer = api.post("/v1/claims:batch", {"claims": [good, a_claim(amount=0), a_claim(currency="x", colour=1)]})
    assert is_problem(answer, 400)
    assert sorted(answer.pointers) == ["/claims/1/amount", "/claims/2/colour", "/claims/2/currency"]
    assert rows(service.url, "SELECT FROM decision WHERE claim_id = %s", good["claim_id"]) == []


BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "half an object": b'{"claim_id": "a"',
    "two values": b"{} {}",
    "a comment": b"{} // x",
    "an array": b"[]",
    "null": b"null",
    "a number": b"1",
    "single quotes": b"{'claim_id': 'a'}",
    "a trailing comma": b'{"claim_id": "a",}',
    "a zero byte": b"\x00",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"claim_id": "a"}'.encode("utf-16"),
    "invalid UTF-8": b'{"claim_id": "\xff\xfe"}',
    "an overlong zero": b'{"claim_id": "\xc0\x80"}',
    "a lone surrogate": b'{"claim_id": "\\ud800"}',
    "a surrogate in bytes": b'{"claim_id": "\xed\xa0\x80"}',
    "an escaped zero": b'{"claim_id": "\\u0000"}',
    "not a number": b'{"amount": NaN}',
    "infinity": b'{"affected_share": -Infinity}',
    "a huge exponent": b'{"amount": 1e999999}',
    "a huge integer": b'{"amount": ' + b"9" * 5_000 + b"}",
    "arrays in arrays": b"[" * 100_000,
    "objects in objects": b'{"a":' * 40_000,
    "deep extra": b'{"extra": {"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}}",
    "many members": b"{" + b",".join(b'"k%d":1' % n for n in range(10_000)) + b"}",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_body_that_cannot_be_read_is_refused_with_a_reason(api: Api, name: str) -> None:
    answer = api.post("/v1/claims", data=BROKEN[name])
    assert is_problem(answer, 400)
    assert answer.json["errors"]


def test_of_a_member_that_stands_twice_the_last_one_counts(api: Api) -> None:
    text = json.dumps(a_claim())
    answer = api.post("/v1/claims", data=text[:-1] + ', "amount": 4901}')
    assert (answer.status, answer.json["approved_amount"]) == (200, 4_901)


@pytest.mark.parametrize("text", ["\U0001f34e" * 128, "<script>", "'; DROP TABLE decision; --", "%s%(x)s", "\ufffe", " "])
def test_any_text_without_control_characters_is_an_id_and_comes_back_as_it_was(api: Api, text: str) -> None:
    claim_id = (unique("") + text)[-128:]
    assert api.decide(a_claim(claim_id=claim_id))["claim_id"] == claim_id
    quoted = requests.utils.quote(claim_id, safe="")
    assert api.read(quoted)["claim_id"] == claim_id


@pytest.mark.parametrize("form", ["{}/b", "{}//b", "{}/", "{}?x", "{}#x", "{}%2F", "{}/../b", "{}+ b"])
def test_an_id_may_hold_what_means_something_in_addresses(server: Server, form: str) -> None:
    claim_id = form.format(unique("id"))
    server.api.decide(a_claim(claim_id=claim_id))
    assert server.api.read(requests.utils.quote(claim_id, safe=""))["claim_id"] == claim_id


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
        ({"Content-Type": "APPLICATION/JSON"}, 200),
        ({"Accept": "text/html"}, 200),
        ({"Accept": "application/xml;q=0.1"}, 200),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Content-Encoding": "gzip"}, 415),
    ],
)
def test_a_body_has_to_be_json_and_the_answer_always_is(api: Api, headers: dict[str, str], status: int) -> None:
    answer = api.post("/v1/claims", a_claim(), headers=headers)
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("application/" + ("json" if status == 200 else "problem+json"))


@pytest.mark.parametrize(("path", "size"), [("/v1/claims", 256 * 1024), ("/v1/claims:batch", 32 * 1024 * 1024)])
def test_a_body_over_the_limit_is_refused(api: Api, path: str, size: int) -> None:
    assert is_problem(api.post(path, data=b" " * (size + 1)), 413)


def test_a_body_without_a_length_has_the_same_limit(server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.api.key}", "Content-Type": "application/json"}
    small = requests.post(f"{server.base}/v1/claims", data=iter([json.dumps(a_claim()).encode()]), headers=headers, timeout=10)
    large = requests.post(f"{server.base}/v1/claims", data=iter([b" " * 10_000] * 30), headers=headers, timeout=10)
    assert (small.status_code, large.status_code) == (200, 413)
    assert large.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404), ("GET", "/v1", 404), ("GET", "/v1/claims/", 404), ("GET", "/v1/claims/unheard-of", 404),
        ("GET", "/v1/claims/" + "x" * 129, 404), ("GET", "/v1/claims/a%00b", 404), ("GET", "/v1/claims/%ff", 404),
        ("GET", "/v1//cases", 404), ("GET", "/docs/../../etc/passwd", 404), ("GET", "/docs/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "/v1/claims", 405), ("DELETE", "/v1/claims", 405), ("PUT", "/v1/claims/x", 405), ("PATCH", "/v1/events", 405),
        ("POST", "/healthz", 405), ("POST", "/v1/cases", 405),
        ("GET", "/v1/cases?limit=0", 400), ("GET", "/v1/cases?limit=501", 400), ("GET", "/v1/cases?limit=ten", 400),
        ("GET", "/v1/cases?limit=%D9%A1", 400), ("GET", "/v1/cases?kind=other", 400), ("GET", "/v1/cases?after=x", 400),
        ("GET", "/v1/cases?after=1.%00", 400), ("GET", "/v1/cases?after=" + "9" * 30 + ".x", 400),
    ],
)  # fmt: skip
def test_every_error_has_one_shape(api: Api, method: str, path: str, status: int) -> None:
    answer = api.call(method, path)
    assert is_problem(answer, status)
    assert status != 405 or answer.headers["Allow"]


# --- batches -----------------------------------------------------------------------------------------------------


def test_a_thousand_claims_are_answered_in_order_each_on_its_own(server: Server) -> None:
    order = a_claim()["order"]
    decided = a_claim()
    server.api.decide(decided)
    special = {
        10: a_claim(evidence=[]),
        20: decided,
        30: decided | {"amount": 1},
        40: a_claim(order=order, amount=9_000),
        41: a_claim(order=order, amount=9_001),
    }
    claims = [special.get(n) or a_claim() for n in range(999)]
    claims.append(claims[0])
    answer = server.api.post("/v1/claims:batch", {"claims": claims})
    assert answer.status == 200
    answers = answer.json["answers"]
    assert len(answers) == 1_000
    assert all(a.get("claim_id") == c["claim_id"] for n, (a, c) in enumerate(zip(answers, claims, strict=True)) if n != 30)
    assert answers[30]["status"] == 409
    assert answers[20] == server.api.decide(decided)
    assert [answers[n]["decision"] for n in (10, 40, 41)] == ["review", "approve", "review"]
    assert answers[999] == answers[0]
    assert Counter(a.get("decision") for a in answers) == {"approve": 997, "review": 2, None: 1}


@pytest.mark.parametrize("claims", [[], [{}] * 1_001, None, {}])
def test_a_batch_has_one_to_a_thousand_claims(api: Api, claims: Any) -> None:
    answer = api.post("/v1/claims:batch", {"claims": claims})
    assert is_problem(answer, 400)
    assert "/claims" in answer.pointers or "/claims/0/claim_id" in answer.pointers


# --- reading back ------------------------------------------------------------------------------------------------


def test_a_frozen_decision_is_the_answer_with_its_review_outcome_and_features(api: Api) -> None:
    claim = suspicious(api)
    answer = api.decide(claim)
    frozen = wait_until(lambda: (found := api.read(claim["claim_id"]))["features"] and found, what="features are named")
    assert {name: frozen[name] for name in ANSWER_FIELDS} == answer
    assert {*frozen} == ANSWER_FIELDS | {"review", "outcome", "features"}
    assert (frozen["review"]["state"], frozen["review"]["kind"]) == ("open", "review")
    assert frozen["outcome"] is None
    assert {*frozen["features"]} == {*load_features().names, SIGNAL}
    assert (frozen["features"]["buyer_abuse_365d"], frozen["features"]["amount"]) == (1, 4_900)


def test_an_approval_explains_itself_when_it_is_read(api: Api) -> None:
    claim = a_claim()
    assert api.decide(claim)["reasons"] == []
    reasons = api.read(claim["claim_id"])["reasons"]
    assert reasons
    assert all({*reason["text"]} == {"en", "zh"} for reason in reasons)
    assert reasons == api.read(claim["claim_id"])["reasons"]


def test_what_became_of_the_money_stands_beside_the_decision(api: Api) -> None:
    claim = a_claim()
    answer = api.decide(claim)
    api.tell(an_outcome(claim["claim_id"], "part", amount=100, note="half of it"))
    api.tell(an_outcome(claim["claim_id"], "refused"))
    frozen = api.read(claim["claim_id"])
    assert frozen["outcome"]["outcome"] == "refused"
    assert frozen["decision"] == answer["decision"]


def test_an_approval_drawn_for_an_audit_waits_as_a_case_of_that_kind(api: Api) -> None:
    for _ in range(200):
        claim = a_claim(amount=LARGEST, order={"paid_amount": LARGEST})
        answer = api.decide(claim)
        assert answer["audit"]["probability"] == APPETITE.audit.rate
        if answer["audit"]["selected"]:
            break
    assert (answer["decision"], answer["audit"]["selected"]) == ("approve", True)
    assert api.read(claim["claim_id"])["review"]["kind"] == "audit"
    assert api.decide(claim) == answer


def test_a_drawn_claim_has_to_have_a_label_by_a_due_date_however_it_was_decided(api: Api) -> None:
    seen = set()
    for _ in range(200):
        claim = suspicious(api) if "review" not in seen else a_claim(amount=9_900)
        answer = api.decide(claim | {"amount": 9_900, "remedy": "refund_only"})
        found = api.read(claim["claim_id"])["review"]
        if answer["audit"]["selected"]:
            due = datetime.fromisoformat(answer["decided_at"]) + timedelta(days=APPETITE.promise.mature_days)
            assert datetime.fromisoformat(found["due_at"]) == due
            assert found["kind"] == ("audit" if answer["decision"] == "approve" else "review")
            seen.add(answer["decision"])
        else:
            assert found is None or found["due_at"] is None
        if seen == {"approve", "review"}:
            return
    raise AssertionError(seen)


def test_cases_come_page_by_page_the_longest_waiting_first(own_service: Service) -> None:
    api = own_service.api
    made = [api.decide(a_claim(evidence=[]))["case_id"] for _ in range(7)]
    seen: list[str] = []
    path = "/v1/cases?limit=3"
    while path:
        page = api.get(path).json
        assert len(page["cases"]) <= 3
        seen += [case["case_id"] for case in page["cases"]]
        path = f"/v1/cases?limit=3&after={page['next']}" if page["next"] else ""
    assert seen == made
    assert api.get("/v1/cases?limit=7").json["next"] is None
    assert api.get("/v1/cases?kind=audit").json == {"cases": [], "next": None}
    case = api.get("/v1/cases?kind=review&limit=1").json["cases"][0]
    assert (case["gate"], case["amount"], case["currency"], case["state"]) == ("cover", 4_900, "CNY", "open")


# --- doubts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"order": {"shipped_at": stamp(days=9)}}, "contradictory: shipped_at before paid_at"),
        ({"submitted_at": stamp(hours=-2)}, "contradictory: submitted_at is in the future"),
        ({"amount": 10_000}, "contradictory: amount is more than was paid"),
    ],
)
def test_contradictory_facts_go_to_a_person_who_is_told(api: Api, changes: dict[str, Any], said: str) -> None:
    answer = api.decide(a_claim(**changes))
    assert answer["decision"] == "review"
    assert "facts" in failed(answer)
    assert answer["gates"][2]["detail"].startswith(said)


def test_a_past_that_cannot_be_read_in_time_sends_the_claim_to_a_person(own_service: Service) -> None:
    with psycopg.connect(own_service.url) as blocker:
        blocker.execute("LOCK TABLE totals IN ACCESS EXCLUSIVE MODE")
        claim = a_claim()
        answer = own_service.api.decide(claim)
    assert (answer["decision"], failed(answer), answer["risk"]["score"]) == ("review", ["history", "score", "quota"], None)
    assert own_service.api.decide(claim) == answer
    assert own_service.api.decide(a_claim())["decision"] == "approve"


def test_a_past_that_is_broken_sends_the_claim_to_a_person(own_service: Service) -> None:
    rows(own_service.url, "DROP TABLE totals")
    answer = own_service.api.decide(a_claim())
    assert (answer["decision"], failed(answer)) == ("review", ["history", "score", "quota"])
    assert answer["case_id"]


@pytest.mark.parametrize("table", ["past", "order_account", "decision"])
def test_what_cannot_be_written_down_is_answered_503_and_leaves_nothing(own_service: Service, table: str) -> None:
    claim = a_claim()
    with psycopg.connect(own_service.url) as blocker:
        blocker.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        answer = own_service.api.post("/v1/claims", claim)
        assert is_problem(answer, 503)
        assert int(answer.headers["Retry-After"]) >= 1
    for name in ("decision", "past", "order_account", "review_case"):
        assert value(own_service.url, f"SELECT count(*) FROM {name}") == 0
    assert own_service.api.decide(claim)["decision"] == "approve"


@pytest.mark.parametrize("path", ["/v1/cases", "/v1/claims/x"])
def test_a_reading_call_that_takes_too_long_is_503_too(own_service: Service, path: str) -> None:
    with psycopg.connect(own_service.url) as blocker:
        blocker.execute("LOCK TABLE review_case, decision IN ACCESS EXCLUSIVE MODE")
        assert is_problem(own_service.api.get(path), 503)


def test_a_claim_that_cannot_be_explained_still_reaches_its_reviewer(
    own_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: Any) -> None:
        raise ArithmeticError

    monkeypatch.setattr("serving.service.explain", broken)
    answer = own_service.api.decide(a_claim(evidence=[]))
    assert (answer["decision"], answer["reasons"]) == ("review", [])
    assert answer["case_id"]


def test_a_claim_that_breaks_in_a_batch_does_not_take_the_others_answers_with_it(
    own_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = [a_claim() for _ in range(3)]
    record = type(own_service.parts.decisions).record

    def broken(decisions: Any, claim: Any, row: Any) -> bool:
        if claim.claim_id == claims[1]["claim_id"]:
            raise ArithmeticError
        return record(decisions, claim, row)

    monkeypatch.setattr(type(own_service.parts.decisions), "record", broken)
    answers = own_service.api.post("/v1/claims:batch", {"claims": claims}).json["answers"]
    assert [answer.get("decision", answer.get("status")) for answer in answers] == ["approve", 500, "approve"]


@pytest.mark.parametrize("path", ["/v1/claims:batch", "/v1/events"])
def test_a_list_that_is_too_long_is_refused_without_reading_it_to_its_end(api: Api, path: str) -> None:
    name = "claims" if path.endswith("batch") else "events"
    answer = api.post(path, {name: [{}] * 40_000})
    assert is_problem(answer, 400)
    assert [(part["pointer"], len(part["detail"]) < 200) for part in answer.json["errors"]] == [(f"/{name}", True)]


def test_so_many_errors_that_nobody_would_read_them_are_only_counted(api: Api) -> None:
    answer = api.post("/v1/claims", a_claim() | {f"unknown_{n}": 1 for n in range(10_001)})
    assert is_problem(answer, 400)
    assert [part["pointer"] for part in answer.json["errors"]] == [""]
    assert "10,001 errors" in answer.json["errors"][0]["detail"]


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\x9b", "\u2028"])
def test_an_id_with_characters_that_deceive_the_eye_is_refused_in_words(api: Api, character: str) -> None:
    answer = api.post("/v1/claims", a_claim(claim_id=f"a{character}b"))
    assert is_problem(answer, 400)
    (error,) = answer.json["errors"]
    assert (error["pointer"], "cannot be seen" in error["detail"]) == ("/claim_id", True)


# --- health, metrics, description --------------------------------------------------------------------------------


def test_alive_and_ready_need_no_key(api: Api) -> None:
    assert (api.get("/healthz", key=None).status, api.get("/healthz", key=None).json) == (200, {"status": "ok"})
    ready = api.get("/readyz", key=None).json
    assert (ready["status"], ready["missing"]) == ("ready", {})
    assert {name: said.split(",")[0] for name, said in ready["promise"].items()} == {"small": "cert-test", "large": "cert-test"}


def test_paths_and_addresses_are_told_on_this_machine_only(own_service: Service) -> None:
    (own_service.parts.settings.bundle_dir.resolve() / "model.txt").unlink()
    own_service.parts.champion.refresh()
    far = own_service.api.get("/readyz", key=None, headers={"X-Forwarded-For": "192.0.2.1"}).json["missing"]
    assert far == {"bundle": "no sound bundle is loaded; the service's log says why"}


def test_not_ready_names_what_is_missing(own_service: Service) -> None:
    (own_service.parts.settings.bundle_dir.resolve() / "model.txt").unlink()
    own_service.parts.champion.refresh()
    rows(own_service.url, "UPDATE alembic_version SET version_num = '0000'")
    answer = own_service.api.get("/readyz", key=None)
    assert answer.status == 503
    assert {*answer.json["missing"]} == {"bundle", "schema"}
    assert "model.txt is missing" in answer.json["missing"]["bundle"]
    rows(own_service.url, "DROP TABLE alembic_version")
    assert "database" in own_service.api.get("/readyz", key=None).json["missing"]


def test_metrics_answer_to_this_machine_or_to_an_admin(service: Service, api: Api) -> None:
    text = api.get("/metrics", key=None).body.decode()
    for name in ("risk_step_seconds", "risk_decisions_total", "risk_score", "risk_doubts_total"):
        assert f"# TYPE {name}" in text or f"# TYPE {name.removesuffix('_total')}" in text
    reader, admin = (new_key(service.url, scope) for scope in ("claims:read", "admin"))
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
        proxied = {header: "127.0.0.1"}
        assert api.get("/metrics", key=None, headers=proxied).status == 401
        assert api.get("/metrics", key=reader, headers=proxied).status == 403
        assert api.get("/metrics", key=admin, headers=proxied).status == 200


def test_metrics_of_all_workers_come_from_each_of_them(server: Server) -> None:
    def counted() -> float:
        text = server.api.get("/metrics", key=None).body.decode()
        found = re.findall(r'^risk_decisions_total\{decision="approve",gate="none"\} (\S+)$', text, re.MULTILINE)
        return float(found[0]) if found else 0.0

    before = counted()
    at_once(lambda _: server.api.decide(a_claim()), 24, threads=8)
    assert counted() == before + 24


def test_the_description_is_valid_and_names_every_call(service: Service, api: Api) -> None:
    description = api.get("/openapi.json", key=None).json
    assert description["openapi"].startswith("3.1")
    for schema in description["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    served = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in service.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.rule.startswith(("/docs", "/openapi.json"))
    }
    described = {(path, method) for path, calls in description["paths"].items() for method in calls}
    assert described == served


def test_the_page_of_the_interface_loads_nothing_from_another_host(api: Api) -> None:
    page = api.get("/docs", key=None)
    assert page.status == 200
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    files = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
    assert files
    for file in files:
        assert file.startswith("/docs/")
        assert api.get(file, key=None).status == 200


@pytest.mark.parametrize("path", ["//healthz", "//metrics"])
def test_a_path_that_a_proxy_would_read_otherwise_is_not_there(api: Api, path: str) -> None:
    assert is_problem(api.get(path), 404)
