"""What a decision was promised by, when a draw's label is due, and whether approving at once is turned on."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("ALTER TABLE decision ADD segment text, ADD certificate_id text, ADD appetite_version text")
    op.execute("""
        -- Draws by certificate in the order of their decisions: what the watch reads.
        CREATE INDEX decision_audited ON decision (certificate_id, segment, decided_at)
        WHERE audit_selected AND decision = 'approve'
    """)
    # The moment by which a drawn claim has to have a label.
    op.execute("ALTER TABLE review_case ADD due_at bigint")
    op.execute("""
        -- Segments for which approving at once is turned off or on, as the last turn says.
        CREATE TABLE switch (
          segment text COLLATE "C" PRIMARY KEY,
          turned_on boolean NOT NULL,
          turned_at bigint NOT NULL
        )
    """)
    op.execute("""
        -- Every turn of a switch, for ever.
        CREATE TABLE switch_turn (
          seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
          segment text COLLATE "C" NOT NULL,
          turned_on boolean NOT NULL,
          turned_at bigint NOT NULL,
          who text NOT NULL,
          why text NOT NULL
        )
    """)
    op.execute("""
        CREATE FUNCTION keep_forever() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME; END $$
    """)
    op.execute("""
        CREATE TRIGGER keep_forever BEFORE UPDATE OR DELETE OR TRUNCATE ON switch_turn
        FOR EACH STATEMENT EXECUTE FUNCTION keep_forever()
    """)


def downgrade() -> None:
    op.execute("DROP TABLE switch_turn, switch")
    op.execute("DROP FUNCTION keep_forever")
    op.execute("ALTER TABLE review_case DROP due_at")
    op.execute("DROP INDEX decision_audited")
    op.execute("ALTER TABLE decision DROP segment, DROP certificate_id, DROP appetite_version")
