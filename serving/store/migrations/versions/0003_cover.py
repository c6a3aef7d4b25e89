"""Cover in the decision: the guarantee that it rests on, and what a guarantee that pays only once has paid for."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE decision
          ADD guarantee text,
          ADD rules_version text,
          -- For a guarantee that pays once for an order or a tracking number: those of this claim, [[kind, id], …].
          ADD once text
    """)
    op.execute("""
        CREATE TABLE paid_once (
          kind text COLLATE "C" NOT NULL,
          id text COLLATE "C" NOT NULL,
          claim_id text COLLATE "C" NOT NULL,
          PRIMARY KEY (id, kind)
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE paid_once")
    op.execute("ALTER TABLE decision DROP guarantee, DROP rules_version, DROP once")
