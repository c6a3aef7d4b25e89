"""A certificate: up to which score the promise was tested and held, with the evidence that it rests on.

It lies in the manifest of its bundle, under the bundle's signature. How it comes about: `training/certify`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from risk.errors import BundleError
from risk.promise.appetite import Appetite, Name, Segment, Share
from risk.validation import problems_of

_DAY = 86_400_000_000
Count = Annotated[int, Field(ge=0)]
Score = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Point(_Part):
    """One tested threshold."""

    threshold: Score
    drawn: Count = Field(description="Drawn claims at or below it.")
    abusive: Count = Field(description="Of them abusive, or undecided when they should have been.")
    bound: Score = Field(description="Upper bound of the share of abuse in the money, at the segment's error.")
    money_share: Score | None = Field(description="Of the money that could be approved at once, what this threshold approves.")


class Evidence(_Part):
    """What one segment's claims have shown."""

    alpha: Share
    error: Share = Field(description="The part of delta that was spent on this test.")
    status: Literal["certified", "not_enough_evidence", "above_alpha"]
    threshold: Score | None
    drawn: Count
    abusive: Count
    unresolved: Count = Field(description="Of the abusive those that nobody decided in time.")
    bound: Score | None
    missing: Count = Field(description="Drawn claims that are missing for a test that could succeed; 0 where none are.")
    detail: str
    curve: tuple[Point, ...]


class Rested(_Part):
    """The data that a certificate rests on."""

    history: dict[str, str] = Field(description="SHA-256 of each table.")
    start: int = Field(description="First moment of submission, microseconds.")
    end: int = Field(description="The moment before which the claims were submitted.")
    labels_until: int = Field(description="The moment up to which outcomes were known.")
    claims: Count
    eligible: Count = Field(description="Claims that passed every gate but the score's.")
    policies: dict[str, str] = Field(description="Version and digest of each policy that judged them.")


class Certificate(_Part):
    """Of the money approved at once in each segment at most alpha is abuse, with confidence 1 - delta for all together."""

    certificate_id: str
    model: str = Field(description="SHA-256 of the model that it is about.")
    method: str
    issued_at: int
    valid_until: int
    appetite_version: str
    population: str = Field(description="The segments that were looked at, as `Appetite.population` names them.")
    delta: Share
    look: Annotated[int, Field(ge=1)] = Field(description="Which test of this model's evidence it was.")
    looks: Annotated[int, Field(ge=1)]
    data: Rested
    segments: dict[Name, Evidence]


@dataclass(frozen=True)
class Standing:
    """What the promise allows for one claim."""

    threshold: float | None
    detail: str
    certificate_id: str | None = None


def certificate_of(manifest: Mapping[str, Any]) -> Certificate | None:
    """The certificate in a manifest, if there is one; a BundleError where it is about another model or makes no sense."""
    part = manifest.get("certificate")
    if part is None:
        return None
    try:
        # JSON knows no tuples.
        certificate = Certificate.model_validate(part, strict=False)
    except ValidationError as error:
        said = "; ".join(str(problem) for problem in problems_of(error)[:5])
        raise BundleError(f"the certificate cannot be read: {said}") from error
    model = manifest.get("files", {}).get("model.txt")
    if certificate.model != model:
        raise BundleError(
            f"certificate {certificate.certificate_id} is about another model ({certificate.model[:8]}, not {str(model)[:8]})"
        )
    return certificate


def standing(certificate: Certificate | None, segment: Segment | None, appetite: Appetite, now: int) -> Standing:
    """Up to which score a claim of `segment` may be approved at `now` (microseconds), or why at none."""
    if segment is None:
        return Standing(None, "fits no segment of the appetite")
    if certificate is None:
        return Standing(None, "the bundle has no certificate: nothing is approved on its score")
    name = certificate.certificate_id
    if now > certificate.valid_until:
        return Standing(None, f"{name} lapsed on {_day(certificate.valid_until)}", name)
    if certificate.population != appetite.population:
        return Standing(None, f"{name} is about other segments than those of appetite {appetite.version}", name)
    evidence = certificate.segments.get(segment.name)
    if evidence is None:
        return Standing(None, f"{name} says nothing of segment {segment.name}", name)
    alpha = appetite.alpha_of(segment)
    if evidence.alpha > alpha or certificate.delta > appetite.promise.delta:
        said = f"{evidence.alpha:.2%} with confidence {1 - certificate.delta:.1%}"
        wanted = f"{alpha:.2%} with {1 - appetite.promise.delta:.1%}"
        return Standing(None, f"{name} promises {said}, appetite {appetite.version} asks for {wanted}", name)
    if evidence.threshold is None:
        return Standing(None, f"{name}, segment {segment.name}: {evidence.detail}", name)
    said = f"at most {evidence.alpha:.2%} of the money is abuse, confidence {1 - certificate.delta:.1%}"
    return Standing(evidence.threshold, f"{name}, segment {segment.name}: {said}, until {_day(certificate.valid_until)}", name)


def _day(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment / 1_000_000, UTC):%Y-%m-%d}"
