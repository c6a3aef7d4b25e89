"""Quotas: what approvals occupy, and what became of them."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("""
        -- What one party has in use of its quota. The limit is not here: it comes with each decision.
        CREATE TABLE party_quota (
          kind text COLLATE "C" NOT NULL,
          id text COLLATE "C" NOT NULL,
          currency text COLLATE "C" NOT NULL,
          -- Reserved and lost.
          used bigint NOT NULL CHECK (used >= 0),
          lost bigint NOT NULL DEFAULT 0,
          -- Approvals that settled without a loss.
          settled integer NOT NULL DEFAULT 0,
          -- When the latest loss was that is not recovered.
          lost_at bigint,
          PRIMARY KEY (id, kind, currency)
        )
        WITH (fillfactor = 80)
    """)
    op.execute("""
        -- A quota that many approvals meet in, in slots: a connection reserves in its own and waits for nobody. All shares
        -- together are the limit that they were dealt under, and no slot uses more than its share.
        CREATE TABLE shared_quota (
          kind text COLLATE "C" NOT NULL,
          id text COLLATE "C" NOT NULL,
          currency text COLLATE "C" NOT NULL,
          slot smallint NOT NULL,
          dealt bigint NOT NULL,
          share bigint NOT NULL,
          used bigint NOT NULL CHECK (used >= 0),
          PRIMARY KEY (kind, id, currency, slot)
        )
        WITH (fillfactor = 40)
    """)
    op.execute("""
        -- What became of approvals that are not open any more: it follows from the events and `settled_until` alone.
        CREATE TABLE release (
          claim_id text COLLATE "C" PRIMARY KEY,
          state text NOT NULL CHECK (state IN ('settled', 'lost', 'recovered')),
          lost bigint NOT NULL CHECK (lost >= 0),
          cause text NOT NULL,
          at bigint NOT NULL
        )
    """)
    op.execute("CREATE TABLE settled_until (one boolean PRIMARY KEY DEFAULT true CHECK (one), moment bigint NOT NULL)")
    op.execute("INSERT INTO settled_until (moment) VALUES (0)")
    op.execute("""
        ALTER TABLE decision
          -- When an approval settles by itself; null for what has reserved nothing: reviews, and all from before.
          ADD settles_at bigint,
          -- Where it reserved in these quotas, to be freed there.
          ADD merchant_slot smallint,
          ADD guarantee_slot smallint
    """)
    op.execute("CREATE INDEX decision_settles_at ON decision (settles_at) WHERE settles_at IS NOT NULL")
    op.execute("CREATE INDEX decision_order_id ON decision (order_id) WHERE settles_at IS NOT NULL")
    op.execute("""
        CREATE INDEX event_order_id ON event (order_id)
        WHERE order_id IS NOT NULL AND type IN ('return_received', 'chargeback')
    """)
    op.execute("""
        -- Every quota that an approval has reserved in.
        CREATE VIEW reservation AS
        SELECT claim_id, order_id, currency, amount, decided_at, settles_at, kind, id, slot
        FROM decision
        CROSS JOIN LATERAL (SELECT claim::jsonb AS body, to_timestamp(decided_at / 1000000) AT TIME ZONE 'UTC' AS moment OFFSET 0) AS read
        CROSS JOIN LATERAL (VALUES
          ('buyer', body #>> '{buyer,buyer_id}', NULL::smallint), ('device', body #>> '{device,device_id}', NULL),
          ('address', body #>> '{order,address_id}', NULL), ('payment', body #>> '{order,payment_id}', NULL),
          ('merchant', body #>> '{merchant,merchant_id}', merchant_slot), ('guarantee', guarantee, guarantee_slot),
          ('hour', to_char(moment, 'YYYY-MM-DD"T"HH24'), NULL), ('day', to_char(moment, 'YYYY-MM-DD'), NULL)
        ) AS one (kind, id, slot)
        WHERE settles_at IS NOT NULL AND id IS NOT NULL
    """)


def downgrade() -> None:
    op.execute("DROP VIEW reservation")
    op.execute("DROP INDEX decision_settles_at, decision_order_id, event_order_id")
    op.execute("ALTER TABLE decision DROP settles_at, DROP merchant_slot, DROP guarantee_slot")
    op.execute("DROP TABLE settled_until, release, shared_quota, party_quota")
