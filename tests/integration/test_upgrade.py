"""From a schema before certificates and quotas to this one, with decisions, orders and open cases in it, and back."""

from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config

from serving.store import migrate as migrations
from serving.store.migrate import migrate, newest, revision
from tests.conftest import run_service
from tests.service import a_claim, a_label, account, an_outcome, new_database, rows, value


def downgrade(url: str, to: str) -> None:
    """Take a database back to an earlier schema, as an operator would with alembic."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent / "migrations"))
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, to)
        connection.commit()


def test_decisions_orders_and_open_cases_from_before_certificates_and_quotas_are_right_after_an_upgrade(
    postgres: str, promoted: Path, tmp_path: Path
) -> None:
    url = new_database(postgres)
    migrate(url)
    # The largest amount of their segment: every fifth is drawn.
    paid = [a_claim(amount=30_000, order={"paid_amount": 40_000}) for _ in range(25)]
    waits = a_claim(evidence=[], amount=500, **{part: paid[0][part] for part in ("buyer", "merchant", "order")})
    before = run_service(url, promoted, tmp_path / "before")
    service = next(before)
    answers = [service.api.decide(claim) for claim in (*paid, waits)]
    assert [answer["decision"] for answer in answers] == ["approve"] * 25 + ["review"]
    next(before, None)

    downgrade(url, "0002")
    assert revision(url) == "0002"
    assert migrate(url) == newest()
    assert account(url).differences == ()

    after = run_service(url, promoted, tmp_path / "after")
    service = next(after)
    try:
        assert [service.api.decide(claim) for claim in (*paid, waits)] == answers
        assert [service.api.read(claim["claim_id"])["decision"] for claim in paid] == ["approve"] * 25
        # They occupy nothing, whatever becomes of them; their orders know them as before.
        assert value(url, "SELECT count(*) FROM party_quota") == 0
        service.api.tell(an_outcome(waits["claim_id"], "refused"), *(a_label(claim["claim_id"]) for claim in paid[1:4]))
        order = "SELECT approved, waiting, elsewhere FROM order_account WHERE order_id = %s"
        assert rows(url, order, paid[0]["order"]["order_id"]) == [(30_000, 0, 0)]
        assert service.api.get("/v1/cases?kind=review").json["cases"] == []
        # Audits from then have no due date and belong to no certificate; what is approved from now on reserves.
        assert all(audit["due_at"] is None for audit in service.api.get("/v1/cases?kind=audit").json["cases"])
        assert [part["audits"]["drawn"] for part in service.api.get("/v1/promise").json["segments"]] == [0, 0]
        fresh = a_claim()
        assert service.api.decide(fresh)["decision"] == "approve"
        assert rows(url, "SELECT used FROM party_quota WHERE id = %s", fresh["buyer"]["buyer_id"]) == [(4_900,)]
        assert account(url).differences == ()
    finally:
        next(after, None)
