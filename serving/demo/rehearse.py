"""Scores that claims would get, without deciding them: how the demonstration chooses whom to show."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from risk.bundle import Bundle
from risk.claim import Claim, microseconds
from risk.decision import Decider
from risk.features import load_features
from risk.gates import load_rules
from risk.policy.definition import load_policies
from risk.promise.appetite import load_appetite
from serving.demo.cast import Rank, Scene
from serving.store.database import Database
from serving.store.decisions import Decisions


def ranker(database: Database, bundle: Bundle, appetite: Path | None = None) -> Rank:
    """Puts scenes that would be approved as of now first, and of these the ones with the lowest score."""
    features = load_features()
    decisions = Decisions(database, features)
    decider = Decider(
        features=features,
        rules=load_rules(),
        policies=load_policies(),
        appetite=load_appetite(appetite),
        audit_secret=b"nothing is drawn here",
    )

    def score(scene: Scene) -> tuple[bool, float]:
        claim, now = Claim.model_validate_json(json.dumps(scene.claim)), datetime.now(UTC)
        _, past = decisions.look_up(claim, microseconds(now))
        found = decider.decide(claim, past, bundle, now)
        return found.decision != "approve", found.score if found.score is not None else 1.0

    def rank(scenes: Sequence[Scene]) -> list[Scene]:
        return sorted(scenes, key=score)

    return rank
