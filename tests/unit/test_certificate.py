"""What a certificate in a bundle allows, and everything that makes it allow nothing."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from risk.bundle import Bundle
from risk.claim import microseconds
from risk.errors import BundleError
from risk.promise.appetite import Appetite, Segment, load_appetite
from risk.promise.certificate import Certificate, certificate_of, standing
from tests.service import BUNDLE_KEY, a_certificate, merged, small_bundle

APPETITE = load_appetite()
SMALL, LARGE = APPETITE.segment
MODEL = "a model"
NOW = microseconds(datetime.now(UTC))
DAY = 86_400_000_000


def manifest(**changes: Any) -> dict[str, Any]:
    files = {"model.txt": hashlib.sha256(MODEL.encode()).hexdigest()}
    return {"files": files, "certificate": merged(a_certificate(MODEL, 0.4), changes)}


def certificate(**changes: Any) -> Certificate:
    found = certificate_of(manifest(**changes))
    assert found is not None
    return found


def asking(**promise: float) -> Appetite:
    return APPETITE.model_copy(update={"promise": APPETITE.promise.model_copy(update=promise)})


def test_a_valid_certificate_gives_the_threshold_of_the_segment() -> None:
    found = standing(certificate(segments={"large": {"threshold": 0.1}}), SMALL, APPETITE, NOW)
    assert (found.threshold, found.certificate_id) == (0.4, "cert-test")
    assert "at most 3.00% of the money is abuse, confidence 90.0%" in found.detail
    assert standing(certificate(segments={"large": {"threshold": 0.1}}), LARGE, APPETITE, NOW).threshold == 0.1


@pytest.mark.parametrize(
    ("changes", "segment", "appetite", "now", "said"),
    [
        ({}, None, APPETITE, NOW, "fits no segment"),
        ({"valid_until": NOW}, SMALL, APPETITE, NOW + 1, "lapsed on"),
        ({}, SMALL, APPETITE, NOW + 91 * DAY, "lapsed on"),
        ({"population": "other"}, SMALL, APPETITE, NOW, "is about other segments"),
        ({}, Segment(name="fresh", largest={"CNY": 1}), APPETITE, NOW, "says nothing of segment fresh"),
        ({}, SMALL, asking(alpha=0.02), NOW, "promises 3.00% with confidence 90.0%, appetite 2026-11-27 asks for 2.00%"),
        ({}, SMALL, asking(delta=0.05), NOW, "asks for 3.00% with 95.0%"),
        ({"segments": {"small": {"threshold": None, "status": "not_enough_evidence", "detail": "120 audits are missing"}}},
         SMALL, APPETITE, NOW, "cert-test, segment small: 120 audits are missing"),
    ],
)  # fmt: skip
def test_without_a_promise_that_covers_the_claim_nothing_may_be_approved(
    changes: dict[str, Any], segment: Segment | None, appetite: Appetite, now: int, said: str
) -> None:
    found = standing(certificate(**changes), segment, appetite, now)
    assert found.threshold is None
    assert said in found.detail


def test_without_a_certificate_nothing_may_be_approved() -> None:
    assert certificate_of({"files": {}}) is None
    assert standing(None, SMALL, APPETITE, NOW).threshold is None


def test_a_promise_that_is_stricter_than_what_is_asked_for_will_do() -> None:
    assert standing(certificate(), SMALL, asking(alpha=0.05, delta=0.2), NOW).threshold == 0.4


def test_a_certificate_holds_up_to_and_with_its_last_moment() -> None:
    assert standing(certificate(valid_until=NOW), SMALL, APPETITE, NOW).threshold == 0.4


def test_a_certificate_for_another_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cert-test is about another model"):
        certificate_of(manifest(model="0" * 64))
    small_bundle(tmp_path, certificate={"model": "0" * 64})
    with pytest.raises(BundleError, match="cert-test is about another model"):
        Bundle.load(tmp_path, BUNDLE_KEY.encode())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"segments": {"small": {"threshold": "high"}}}, "/segments/small/threshold: "),
        ({"segments": {"small": {"threshold": float("nan")}}}, "/segments/small/threshold: "),
        ({"delta": 1.5}, "/delta: "),
        ({"promise": "everything"}, "/promise: unknown field"),
        ({"data": {"claims": -1}}, "/data/claims: "),
    ],
)
def test_a_certificate_that_makes_no_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleError, match="the certificate cannot be read") as caught:
        certificate_of(manifest(**changes))
    assert said in str(caught.value)


def test_a_bundle_without_a_certificate_is_sound_and_promises_nothing(tmp_path: Path) -> None:
    small_bundle(tmp_path, certificate=None)
    bundle = Bundle.load(tmp_path, BUNDLE_KEY.encode())
    assert bundle.certificate is None
