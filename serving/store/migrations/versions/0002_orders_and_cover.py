"""What is known of an order's money and goods, and the guarantee that a decision rests on."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE order_approval RENAME TO order_account")
    op.execute("ALTER TABLE order_account DROP CONSTRAINT order_approval_check")
    op.execute("""
        ALTER TABLE order_account
          ALTER approved SET DEFAULT 0,
          ADD CHECK (approved >= 0),
          ADD waiting bigint NOT NULL DEFAULT 0,
          ADD elsewhere bigint NOT NULL DEFAULT 0,
          ADD charged_back bigint NOT NULL DEFAULT 0,
          ADD paid bigint,
          ADD paid_at bigint,
          ADD currency text,
          ADD buyer_id text COLLATE "C",
          ADD merchant_id text COLLATE "C",
          ADD shipped boolean NOT NULL DEFAULT false,
          ADD delivered boolean NOT NULL DEFAULT false,
          -- What claims have asked for each item and got or may yet get.
          ADD items jsonb NOT NULL DEFAULT '{}',
          -- Whether the price and the parties come from the event of the purchase.
          ADD confirmed boolean NOT NULL DEFAULT false
    """)
    op.execute("UPDATE order_account SET paid = most")
    op.execute("ALTER TABLE order_account DROP most")
    op.execute("""
        ALTER TABLE decision
          ADD guarantee text,
          ADD rules_version text,
          -- What a guarantee that pays only once would pay for: [[kind, id], …].
          ADD once text
    """)
    op.execute("""
        -- What is paid, or may yet be paid, by a guarantee that pays only once for an order or a tracking number.
        CREATE TABLE taken_once (
          kind text COLLATE "C" NOT NULL,
          id text COLLATE "C" NOT NULL,
          claim_id text COLLATE "C" NOT NULL,
          PRIMARY KEY (id, kind)
        )
    """)
    op.execute("CREATE INDEX taken_once_claim_id ON taken_once (claim_id)")
    op.execute("""
        -- What people paid on a claim in the end, as its newest outcome told.
        CREATE TABLE settlement (
          claim_id text COLLATE "C" PRIMARY KEY,
          paid bigint NOT NULL
        )
    """)
    # What happened before: outcomes that are known are settled, everything else that went to a person still waits.
    op.execute("""
        INSERT INTO settlement (claim_id, paid)
        SELECT DISTINCT ON (claim_id) claim_id,
          CASE WHEN body::jsonb ->> 'outcome' IN ('approved', 'part')
            THEN coalesce((body::jsonb ->> 'amount')::bigint, amount) ELSE 0 END
        FROM event JOIN decision USING (claim_id) WHERE type = 'claim_outcome'
        ORDER BY claim_id, known_at DESC, occurred_at DESC, event_id DESC
    """)
    op.execute("""
        UPDATE review_case SET state = 'closed'
        WHERE kind = 'review' AND claim_id IN (SELECT claim_id FROM settlement)
    """)
    op.execute("""
        INSERT INTO order_account (order_id, waiting, elsewhere)
        SELECT order_id, coalesce(sum(amount) FILTER (WHERE paid IS NULL), 0), coalesce(sum(paid), 0)
        FROM decision LEFT JOIN settlement USING (claim_id)
        WHERE decision = 'review' AND claim::jsonb ->> 'remedy' <> 'freight' GROUP BY order_id
        ON CONFLICT (order_id) DO UPDATE SET waiting = EXCLUDED.waiting, elsewhere = EXCLUDED.elsewhere
    """)
    op.execute("""
        INSERT INTO taken_once (kind, id, claim_id)
        SELECT 'order', order_id, claim_id FROM decision WHERE claim::jsonb ->> 'remedy' = 'freight'
        ORDER BY decided_at ON CONFLICT DO NOTHING
    """)


def downgrade() -> None:
    op.execute("DROP TABLE settlement, taken_once")
    op.execute("ALTER TABLE decision DROP guarantee, DROP rules_version, DROP once")
    op.execute("""
        ALTER TABLE order_account
          DROP CONSTRAINT order_account_approved_check,
          DROP waiting, DROP elsewhere, DROP charged_back, DROP paid_at, DROP currency, DROP buyer_id, DROP merchant_id,
          DROP shipped, DROP delivered, DROP items, DROP confirmed
    """)
    op.execute("DELETE FROM order_account WHERE approved = 0")
    op.execute("ALTER TABLE order_account RENAME paid TO most")
    op.execute("UPDATE order_account SET most = greatest(coalesce(most, 0), approved)")
    op.execute("ALTER TABLE order_account ALTER most SET NOT NULL, ALTER approved DROP DEFAULT")
    op.execute("ALTER TABLE order_account ADD CONSTRAINT order_approval_check CHECK (approved <= most)")
    op.execute("ALTER TABLE order_account RENAME TO order_approval")
