"""What is known of an order's money: not only what was approved at once, but what waits and what others paid back."""

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
          ADD told bigint NOT NULL DEFAULT 0,
          ADD paid bigint,
          ADD currency text,
          ADD buyer_id text COLLATE "C",
          ADD merchant_id text COLLATE "C",
          -- Whether the price and the parties come from the event of the purchase.
          ADD confirmed boolean NOT NULL DEFAULT false
    """)
    op.execute("UPDATE order_account SET paid = most")
    op.execute("ALTER TABLE order_account DROP most")
    # What a reviewed claim was settled for; until then it is waiting.
    op.execute("ALTER TABLE review_case ADD settled bigint")
    op.execute("""
        INSERT INTO order_account (order_id, waiting)
        SELECT order_id, sum(amount) FROM decision WHERE decision = 'review' GROUP BY order_id
        ON CONFLICT (order_id) DO UPDATE SET waiting = EXCLUDED.waiting
    """)


def downgrade() -> None:
    op.execute("ALTER TABLE review_case DROP settled")
    op.execute("""
        ALTER TABLE order_account
          DROP CONSTRAINT order_account_approved_check,
          DROP waiting, DROP elsewhere, DROP told, DROP currency, DROP buyer_id, DROP merchant_id, DROP confirmed
    """)
    op.execute("DELETE FROM order_account WHERE approved = 0")
    op.execute("ALTER TABLE order_account RENAME paid TO most")
    op.execute("ALTER TABLE order_account ALTER most SET NOT NULL, ALTER approved DROP DEFAULT")
    op.execute("ALTER TABLE order_account ADD CONSTRAINT order_approval_check CHECK (approved <= most)")
    op.execute("ALTER TABLE order_account RENAME TO order_approval")
