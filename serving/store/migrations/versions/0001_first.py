"""Decisions, the past, running totals, events, cases, keys."""

from alembic import op

revision = "0001"
down_revision = None

_PARTIES = ("buyer_id", "device_id", "address_id", "payment_id", "merchant_id", "creator_id", "item_id")
_MEASURES = (
    "orders", "order_amount", "claims", "claim_amount", "not_received", "quality", "refund_only", "abuse", "legitimate",
)  # fmt: skip
_LARGE = ("order_amount", "claim_amount")


def upgrade() -> None:
    measures = ",\n".join(
        f"  {name} {'bigint' if name in _LARGE else 'smallint'} NOT NULL DEFAULT 0" for name in _MEASURES
    )
    parties = ",\n".join(f'  {name} text COLLATE "C"' for name in _PARTIES)
    op.execute(f"""
        -- One row an order, a claim or a change of a label, stamped with the moment at which it became known
        -- (microseconds since 1970 UTC). Never updated; features are sums over it.
        CREATE TABLE past (
          seq bigint GENERATED ALWAYS AS IDENTITY,
          known_at bigint NOT NULL,
          event "char" NOT NULL,
          claim_id text COLLATE "C",
        {parties},
        {measures}
        )
    """)
    for name in _PARTIES:
        op.execute(f"CREATE INDEX past_{name} ON past ({name}, known_at) WHERE {name} IS NOT NULL")
    op.execute("CREATE INDEX past_claim_id ON past (claim_id) WHERE claim_id IS NOT NULL")
    op.execute("CREATE INDEX past_known_at ON past (known_at)")
    totals = ",\n".join(f"  {name} bigint NOT NULL" for name in _MEASURES)
    op.execute(f"""
        -- Running totals of the entities with long histories, up to and with each event before the watermark.
        CREATE TABLE totals (
          entity text COLLATE "C" NOT NULL,
          key text COLLATE "C" NOT NULL,
          known_at bigint NOT NULL,
          seq bigint NOT NULL,
        {totals},
          PRIMARY KEY (entity, key, known_at, seq)
        )
    """)
    op.execute("CREATE TABLE watermark (one boolean PRIMARY KEY DEFAULT true CHECK (one), moment bigint NOT NULL)")
    op.execute("INSERT INTO watermark (moment) VALUES (0)")
    op.execute("""
        -- Everything that a decision rested on, frozen.
        CREATE TABLE decision (
          claim_id text COLLATE "C" PRIMARY KEY,
          digest bytea NOT NULL,
          decided_at bigint NOT NULL,
          decision text NOT NULL CHECK (decision IN ('approve', 'review')),
          gate text,
          order_id text COLLATE "C" NOT NULL,
          amount bigint NOT NULL,
          currency text NOT NULL,
          claim text NOT NULL,
          answer text NOT NULL,
          feature_set text,
          features text,
          raw double precision,
          score double precision,
          threshold double precision,
          model_version text,
          policy_version text NOT NULL,
          code_version text NOT NULL,
          audit_selected boolean NOT NULL,
          audit_probability double precision NOT NULL
        )
        -- A row of some kilobytes stays in its page: compressing it would cost more than writing it.
        WITH (toast_tuple_target = 4080)
    """)
    op.execute("""
        -- Money approved at once for one order; the check makes it impossible to approve more than was paid.
        CREATE TABLE order_approval (
          order_id text COLLATE "C" PRIMARY KEY,
          approved bigint NOT NULL,
          most bigint NOT NULL,
          CHECK (approved <= most)
        )
    """)
    op.execute("""
        -- A case is written by the very statement that writes its decision, which needs no foreign key to be sure.
        CREATE TABLE review_case (
          case_id text COLLATE "C" PRIMARY KEY,
          claim_id text COLLATE "C" NOT NULL,
          kind text NOT NULL CHECK (kind IN ('review', 'audit')),
          state text NOT NULL DEFAULT 'open',
          opened_at bigint NOT NULL
        )
    """)
    op.execute("CREATE INDEX review_case_waiting ON review_case (opened_at, case_id) WHERE state = 'open'")
    op.execute("CREATE INDEX review_case_claim_id ON review_case (claim_id)")
    op.execute("""
        CREATE TABLE event (
          event_id text COLLATE "C" PRIMARY KEY,
          type text NOT NULL,
          occurred_at bigint NOT NULL,
          known_at bigint NOT NULL,
          claim_id text COLLATE "C",
          order_id text COLLATE "C",
          digest bytea NOT NULL,
          body text NOT NULL
        )
    """)
    op.execute("CREATE INDEX event_claim_id ON event (claim_id, known_at) WHERE claim_id IS NOT NULL")
    op.execute("""
        CREATE TABLE api_key (
          key_id text PRIMARY KEY,
          name text NOT NULL,
          secret_hash bytea NOT NULL,
          scopes text[] NOT NULL,
          created_at bigint NOT NULL,
          revoked_at bigint
        )
    """)
    op.execute("CREATE TABLE setting (name text PRIMARY KEY, value text NOT NULL)")
    # Draws of audits depend on a secret that is made once and stays with the data.
    op.execute("INSERT INTO setting VALUES ('audit_secret', replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''))")
    op.execute("CREATE TABLE feature_set (fingerprint text PRIMARY KEY, names text NOT NULL)")


def downgrade() -> None:
    for table in (
        "feature_set", "setting", "api_key", "event", "review_case", "order_approval", "decision", "watermark",
        "totals", "past",
    ):  # fmt: skip
        op.execute(f"DROP TABLE {table}")
