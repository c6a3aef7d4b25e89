"""Scores that claims would get, without deciding them: how the demonstration chooses whom to show."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

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


def ranker(database: Database, bundle: Bundle) -> Rank:
    """Puts scenes in order of their score as of now, the lowest first."""
    features = load_features()
    decisions = Decisions(database, features)
    decider = Decider(
        features=features,
        rules=load_rules(),
        policies=load_policies(),
        appetite=load_appetite(),
        audit_secret=b"nothing is drawn here",
    )

    def score(scene: Scene) -> float:
        claim, now = Claim.model_validate_json(json.dumps(scene.claim)), datetime.now(UTC)
        _, past = decisions.look_up(claim, microseconds(now))
        found = decider.decide(claim, past, bundle, now).score
        return found if found is not None else 1.0

    def rank(scenes: Sequence[Scene]) -> list[Scene]:
        return sorted(scenes, key=score)

    return rank
