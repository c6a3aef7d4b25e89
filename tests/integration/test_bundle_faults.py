"""A bundle that must not be served: the service stays up, says so, and hands every claim to a person."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from risk.bundle import MANIFEST, MODEL, SIGNATURE
from risk.errors import BundleError
from tests.conftest import Service
from tests.service import Server, a_claim, small_bundle, value, wait_until
from training.promote import promote


def truncated(folder: Path) -> None:
    (folder / MODEL).write_bytes((folder / MODEL).read_bytes()[:-1_000])


def altered(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"threshold": 1.0}))


def of_another_schema(folder: Path) -> None:
    small_bundle(folder, features={"fingerprint": "0000000000000000"})


def of_another_key(folder: Path) -> None:
    small_bundle(folder, key="somebody else's key")


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no model": (without(MODEL), "model.txt is missing"),
    "no manifest": (without(MANIFEST), "no bundle"),
    "no signature": (without(SIGNATURE), "no bundle"),
    "nothing at all": (shutil.rmtree, "no bundle"),
    "a truncated model": (truncated, "truncated or altered"),
    "an altered manifest": (altered, "altered, or signed with another key"),
    "another key": (of_another_key, "altered, or signed with another key"),
    "another feature table": (of_another_schema, "another feature table"),
    "an unreadable signature": (lambda folder: (folder / SIGNATURE).write_bytes(b"\xff\xfe"), "altered, or signed"),
}


def served(service: Service) -> Path:
    return service.parts.settings.bundle_dir.resolve()


@pytest.mark.parametrize("name", FAULTS)
def test_a_bundle_that_goes_bad_sends_claims_to_a_person_with_that_doubt(own_service: Service, name: str) -> None:
    damage, said = FAULTS[name]
    api = own_service.api
    assert api.decide(a_claim())["decision"] == "approve"
    damage(served(own_service))
    own_service.parts.champion.refresh()
    answer = api.decide(a_claim())
    assert answer["decision"] == "review"
    assert (answer["gates"][0]["gate"], answer["gates"][0]["passed"]) == ("bundle", False)
    assert said in answer["gates"][0]["detail"]
    assert answer["risk"] == {"score": None, "threshold": None, "model_version": None, "segment": "small", "certificate_id": None}
    assert answer["case_id"]
    assert said in api.get("/readyz", key=None).json["missing"]["bundle"]
    assert api.get("/healthz", key=None).status == 200


def test_a_key_that_was_away_for_a_while_is_found_again_without_touching_the_bundle(
    own_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion, key = own_service.parts.champion, os.environ["BUNDLE_KEY"]
    monkeypatch.setattr("serving.champion.RETRY_SECONDS", 0.0)
    manifest = own_service.parts.settings.bundle_dir.resolve() / "manifest.json"
    monkeypatch.setenv("BUNDLE_KEY", "another key of thirty-two bytes and more")
    os.utime(manifest)
    champion.refresh()
    assert champion.current()[0] is None
    monkeypatch.setenv("BUNDLE_KEY", key)
    champion.refresh()
    assert champion.current()[0] is not None


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_bundle_is_never_promoted(candidates: dict[str, Path], bundle_store: Path, tmp_path: Path, name: str) -> None:
    candidate = Path(shutil.copytree(candidates["second"], tmp_path / "candidate"))
    FAULTS[name][0](candidate)
    before = (bundle_store / "champion").resolve()
    with pytest.raises(BundleError):
        promote(candidate, bundle_store)
    assert (bundle_store / "champion").resolve() == before


def test_a_sound_bundle_is_served_as_soon_as_it_is_back(own_service: Service, candidates: dict[str, Path]) -> None:
    altered(served(own_service))
    own_service.parts.champion.refresh()
    assert own_service.api.decide(a_claim())["decision"] == "review"
    version = promote(candidates["second"], own_service.parts.settings.bundle_dir.parent)
    own_service.parts.champion.refresh()
    answer = own_service.api.decide(a_claim())
    assert (answer["decision"], answer["risk"]["model_version"]) == ("approve", version)


def test_a_decision_keeps_the_reasons_of_the_bundle_that_made_it(own_service: Service, candidates: dict[str, Path]) -> None:
    api, claim = own_service.api, a_claim()
    answer, before = api.decide(claim), api.read(claim["claim_id"])
    promote(candidates["second"], own_service.parts.settings.bundle_dir.parent)
    own_service.parts.champion.refresh()
    after = api.read(claim["claim_id"])
    assert (after["reasons"], after["risk"]) == (before["reasons"], answer["risk"])
    assert api.decide(claim) == answer


def test_a_bundle_that_cannot_score_sends_claims_to_a_person_with_that_doubt(
    own_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = own_service.parts.champion.current()[0]
    assert bundle is not None
    words: Any = tuple(pair for pair in bundle._words if bundle.columns[pair[0]] != "reason")
    monkeypatch.setitem(vars(bundle), "_words", words)
    answer = own_service.api.decide(a_claim())
    assert (answer["decision"], answer["risk"]["score"]) == ("review", None)
    assert answer["gates"][0] == {"gate": "bundle", "passed": False, "detail": "the claim could not be judged: ValueError"}
    assert answer["guarantee"] == "fresh_spoilage"


def test_a_repeat_gets_the_first_answer_whatever_became_of_the_bundle(own_service: Service) -> None:
    claim = a_claim()
    first = own_service.api.post("/v1/claims", claim)
    shutil.rmtree(served(own_service))
    own_service.parts.champion.refresh()
    assert own_service.api.post("/v1/claims", claim).body == first.body


def test_the_doubt_is_counted(own_service: Service) -> None:
    def counted() -> float:
        text = own_service.api.get("/metrics", key=None).body.decode()
        lines = [line for line in text.splitlines() if line.startswith('risk_doubts_total{cause="bundle"}')]
        return float(lines[0].split()[-1]) if lines else 0.0

    before = counted()
    shutil.rmtree(served(own_service))
    own_service.parts.champion.refresh()
    own_service.api.decide(a_claim())
    assert counted() == before + 1


def test_a_running_service_notices_a_bundle_that_is_tampered_with_and_a_sound_one_after_it(
    fresh_url: str, bundle_store: Path, candidates: dict[str, Path], tmp_path: Path
) -> None:
    with Server(fresh_url, bundle_store / "champion", tmp_path / "server") as server:
        assert server.api.decide(a_claim())["decision"] == "approve"
        model = bundle_store / "champion" / MODEL
        model.write_text(model.read_text().replace("leaf_value", "leaf_valve", 1))
        wait_until(lambda: all(server.api.decide(a_claim())["decision"] == "review" for _ in range(8)))
        promote(candidates["second"], bundle_store)
        wait_until(lambda: all(server.api.decide(a_claim())["decision"] == "approve" for _ in range(8)))


def test_a_service_without_any_bundle_starts_and_hands_everything_over(fresh_url: str, tmp_path: Path) -> None:
    with Server(fresh_url, tmp_path / "nothing", tmp_path / "server", workers=1) as server:
        assert "no bundle" in server.api.get("/readyz", key=None).json["missing"]["bundle"]
        answers = [server.api.decide(a_claim()) for _ in range(5)]
        assert {answer["decision"] for answer in answers} == {"review"}
        assert value(fresh_url, "SELECT count(*) FROM review_case") == 5
