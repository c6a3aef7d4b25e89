"""Every balance computed again: what approvals occupy, from decisions and events, against what is stored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from risk.promise.appetite import PARTIES, SHARED
from risk.promise.quota import CLOCKED
from serving.store.database import Connection
from serving.store.releases import ALL_EVENTS, APPROVAL_COLUMNS, KEPT_DAYS, Approval, Heard, release, settled_until

_ROWS = 5_000


@dataclass(frozen=True)
class Difference:
    """What is stored otherwise than it follows from decisions and events."""

    table: str
    key: tuple[Any, ...]
    what: str
    stored: Any
    computed: Any

    def __str__(self) -> str:
        name = " ".join(str(part) for part in self.key)
        return f"{self.table}  {name}  {self.what}: stored {self.stored}, computed {self.computed}"


@dataclass(frozen=True)
class Account:
    """What was compared, and what differed."""

    approvals: int
    balances: int
    differences: tuple[Difference, ...]


def reconcile(connection: Connection) -> Account:
    """Compare everything in the caller's transaction, which has to be a repeatable read."""
    approvals, found = _released(connection)
    balances = 0
    for table, keys, columns, statement, parameters in _COMPARED:
        for row in _stream(connection, f"compared_{table}_{columns[0]}", statement, parameters):
            balances += 1
            key, numbers = tuple(row[:keys]), row[keys:]
            stored, computed = numbers[: len(columns)], numbers[len(columns) :]
            pairs = zip(columns, stored, computed, strict=True)
            found += [Difference(table, key, name, have or 0, want or 0) for name, have, want in pairs if (have or 0) != (want or 0)]
    return Account(approvals, balances, tuple(found))


def _released(connection: Connection) -> tuple[int, list[Difference]]:
    """What became of every approval: as remembered, and by its events and the time that passed."""
    until, heard = settled_until(connection), Heard.of(_stream(connection, "told", ALL_EVENTS, {}))
    found, count = [], 0
    for row in _stream(connection, "approvals", _APPROVALS, {}):
        approval = Approval(*row)
        fate, known = heard.fate(approval, until), approval.known
        count += 1
        if (fate.state, fate.lost) != (known.state, known.lost):
            said = (f"{one.state}, {one.lost} lost" for one in (known, fate))
            found.append(Difference("release", (approval.claim_id,), "state", *said))
    return count, found


def _stream(connection: Connection, name: str, statement: str, parameters: dict[str, Any]) -> Iterator[Sequence[Any]]:
    with connection.cursor(name) as cursor:
        cursor.itersize = _ROWS
        yield from cursor.execute(statement, parameters)


def mend(connection: Connection, account: Account, now: int) -> None:
    """Set right what differs, each kind of balance in a transaction of its own that locks the rows concerned.

    Approvals that need one of these rows wait meanwhile, all others go on. `connection` is in no transaction.
    """
    of: dict[str, list[tuple[Any, ...]]] = {}
    for difference in account.differences:
        of.setdefault(difference.table, []).append(difference.key)
    claims = [key[0] for key in of.get("release", ())]
    # Balances may have followed what was remembered wrongly, or not: they are computed anew before it is set right with them.
    for kind, name, currency, slot in connection.execute(_TOUCHED, (claims,)).fetchall():
        key = (kind, name, currency)
        of.setdefault("party_quota" if kind in PARTIES else "shared_quota", []).append(key if kind in PARTIES else (*key, slot))
    for table, statements in _MENDED.items():
        if keys := sorted({key for key in of.get(table, ()) if None not in key}):
            columns = [list(column) for column in zip(*keys, strict=True)]
            with connection.transaction():
                for statement in statements:
                    connection.execute(statement, columns)
    if claims:
        with connection.transaction():
            release(connection, claims, (), now)


_TOUCHED = "SELECT DISTINCT kind, id, currency, slot FROM reservation WHERE claim_id = ANY(%s) AND kind NOT IN ('hour', 'day')"
_APPROVALS = f"SELECT {APPROVAL_COLUMNS} FROM decision LEFT JOIN release USING (claim_id) WHERE settles_at IS NOT NULL"
_PARTIES = ", ".join(f"'{kind}'" for kind in PARTIES)
_FREED = ", ".join(f"'{kind}'" for kind in SHARED if kind not in CLOCKED)
_CLOCKED = ", ".join(f"'{kind}'" for kind in CLOCKED)
_OF_PARTY = """
    coalesce(sum(CASE WHEN state IS NULL THEN amount ELSE released.lost END), 0)::bigint AS used,
    coalesce(sum(released.lost), 0)::bigint AS lost, count(*) FILTER (WHERE state = 'settled') AS settled,
    max(at) FILTER (WHERE released.lost > 0) AS lost_at
"""
_OF_SHARED = "coalesce(sum(amount) FILTER (WHERE state IS NULL), 0)::bigint AS used"
_RELEASED = "reservation LEFT JOIN release AS released USING (claim_id)"
_COMPARE_PARTIES = f"""
    WITH computed AS (SELECT kind, id, currency, {_OF_PARTY} FROM {_RELEASED} WHERE kind IN ({_PARTIES}) GROUP BY kind, id, currency)
    SELECT kind, id, currency, stored.used, stored.lost, stored.settled, (stored.lost_at IS NOT NULL)::int,
      computed.used, computed.lost, computed.settled, (computed.lost_at IS NOT NULL)::int
    FROM party_quota AS stored FULL JOIN computed USING (kind, id, currency)
"""
_COMPARE_SHARED = f"""
    WITH computed AS (
      SELECT kind, id, currency, slot, {_OF_SHARED} FROM {_RELEASED} WHERE kind IN ({_FREED}) GROUP BY kind, id, currency, slot
    )
    SELECT kind, id, currency, slot, stored.used, computed.used
    FROM (SELECT * FROM shared_quota WHERE kind IN ({_FREED})) AS stored FULL JOIN computed USING (kind, id, currency, slot)
"""
# Never freed, so nobody has to know in which slot; deleted some time after their end.
_COMPARE_CLOCKED = f"""
    WITH computed AS (
      SELECT kind, id, currency, sum(amount)::bigint AS used FROM reservation WHERE kind IN ({_CLOCKED}) GROUP BY kind, id, currency
    ), stored AS (
      SELECT kind, id, currency, sum(used)::bigint AS used FROM shared_quota WHERE kind IN ({_CLOCKED}) GROUP BY kind, id, currency
    )
    SELECT kind, id, currency, stored.used, computed.used FROM stored FULL JOIN computed USING (kind, id, currency)
    WHERE stored.used IS NOT NULL OR id >= to_char((now() AT TIME ZONE 'UTC') - make_interval(days => {KEPT_DAYS}), 'YYYY-MM-DD')
"""
# What is dealt under one limit is not more than it.
_COMPARE_SHARES = """
    SELECT kind, id, currency, sum(share)::bigint, least(sum(share), dealt)::bigint FROM shared_quota WHERE dealt >= 0
    GROUP BY kind, id, currency, dealt
"""
_OF_ORDER = """
    coalesce(sum(amount) FILTER (WHERE decision = 'approve'), 0)::bigint AS approved,
    coalesce(sum(amount) FILTER (WHERE decision = 'review' AND settlement.claim_id IS NULL), 0)::bigint AS waiting
    FROM decision LEFT JOIN settlement USING (claim_id) WHERE claim::jsonb ->> 'remedy' <> 'freight'
"""
_OF_BANK = "coalesce(sum((body::jsonb ->> 'amount')::bigint), 0)::bigint AS charged_back FROM event WHERE type = 'chargeback'"
# What others refunded and what was asked for each item depends on the order in which it was told, and is not compared.
_COMPARE_ORDERS = f"""
    WITH decided AS (SELECT order_id, {_OF_ORDER} GROUP BY order_id), bank AS (SELECT order_id, {_OF_BANK} GROUP BY order_id)
    SELECT order_id, stored.approved, stored.waiting, stored.charged_back, decided.approved, decided.waiting, bank.charged_back
    FROM order_account AS stored FULL JOIN decided USING (order_id) FULL JOIN bank USING (order_id)
"""
_COMPARED: tuple[tuple[str, int, tuple[str, ...], str, dict[str, Any]], ...] = (
    ("party_quota", 3, ("used", "lost", "settled", "has a loss"), _COMPARE_PARTIES, {}),
    ("shared_quota", 4, ("used",), _COMPARE_SHARED, {}),
    ("clocked", 3, ("used",), _COMPARE_CLOCKED, {}),
    ("shares", 3, ("together",), _COMPARE_SHARES, {}),
    ("order_account", 1, ("approved", "waiting", "charged_back"), _COMPARE_ORDERS, {}),
)
_PARTY_KEYS = "unnest(%s::text[], %s::text[], %s::text[]) AS one (kind, id, currency)"
_SHARED_KEYS = "unnest(%s::text[], %s::text[], %s::text[], %s::smallint[]) AS one (kind, id, currency, slot)"
_MENDED = {
    "party_quota": (
        f"INSERT INTO party_quota (kind, id, currency, used) SELECT *, 0 FROM {_PARTY_KEYS} ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING",
        f"""
        SELECT FROM party_quota JOIN {_PARTY_KEYS} USING (kind, id, currency)
        ORDER BY kind COLLATE "C", id COLLATE "C", currency COLLATE "C" FOR UPDATE OF party_quota
        """,
        f"""
        UPDATE party_quota AS stored SET used = computed.used, lost = computed.lost, settled = computed.settled,
          lost_at = computed.lost_at
        FROM (
          SELECT kind, id, currency, {_OF_PARTY} FROM {_PARTY_KEYS} LEFT JOIN ({_RELEASED}) USING (kind, id, currency)
          GROUP BY kind, id, currency
        ) AS computed
        WHERE (stored.id, stored.kind, stored.currency) = (computed.id, computed.kind, computed.currency)
        """,
    ),
    # Slots whose use is set right have to be dealt anew, all of their quota: `dealt` is a limit that no appetite has.
    "shared_quota": (
        f"""
        INSERT INTO shared_quota (kind, id, currency, slot, dealt, share, used) SELECT *, -1, 0, 0 FROM {_SHARED_KEYS}
        ORDER BY 1, 2, 3, 4 ON CONFLICT DO NOTHING
        """,
        f"""
        SELECT FROM shared_quota WHERE (kind, id, currency) IN (SELECT kind, id, currency FROM {_SHARED_KEYS})
        ORDER BY kind COLLATE "C", id COLLATE "C", currency COLLATE "C", slot FOR UPDATE
        """,
        f"""
        UPDATE shared_quota AS stored SET used = computed.used
        FROM (
          SELECT kind, id, currency, slot, {_OF_SHARED} FROM {_SHARED_KEYS} LEFT JOIN ({_RELEASED}) USING (kind, id, currency, slot)
          GROUP BY kind, id, currency, slot
        ) AS computed
        WHERE (stored.kind, stored.id, stored.currency, stored.slot)
          = (computed.kind, computed.id, computed.currency, computed.slot)
        """,
        f"""
        UPDATE shared_quota SET dealt = -1 WHERE (kind, id, currency) IN (SELECT kind, id, currency FROM {_SHARED_KEYS})
        """,
    ),
    "clocked": (
        f"""
        INSERT INTO shared_quota (kind, id, currency, slot, dealt, share, used) SELECT *, 0, -1, 0, 0 FROM {_PARTY_KEYS}
        ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING
        """,
        f"""
        SELECT FROM shared_quota WHERE (kind, id, currency) IN (SELECT kind, id, currency FROM {_PARTY_KEYS})
        ORDER BY kind COLLATE "C", id COLLATE "C", currency COLLATE "C", slot FOR UPDATE
        """,
        # All of it in the first slot.
        f"""
        UPDATE shared_quota AS stored SET dealt = -1, used = CASE slot WHEN 0 THEN computed.used ELSE 0 END
        FROM (
          SELECT kind, id, currency, coalesce(sum(amount), 0)::bigint AS used
          FROM {_PARTY_KEYS} LEFT JOIN reservation USING (kind, id, currency) GROUP BY kind, id, currency
        ) AS computed
        WHERE (stored.kind, stored.id, stored.currency) = (computed.kind, computed.id, computed.currency)
        """,
    ),
    "shares": (
        f"""
        SELECT FROM shared_quota WHERE (kind, id, currency) IN (SELECT kind, id, currency FROM {_PARTY_KEYS})
        ORDER BY kind COLLATE "C", id COLLATE "C", currency COLLATE "C", slot FOR UPDATE
        """,
        f"UPDATE shared_quota SET dealt = -1 WHERE (kind, id, currency) IN (SELECT kind, id, currency FROM {_PARTY_KEYS})",
    ),
    "order_account": (
        """
        INSERT INTO order_account (order_id) SELECT unnest(%s::text[]) ORDER BY 1 ON CONFLICT DO NOTHING
        """,
        """
        SELECT FROM order_account WHERE order_id = ANY(%s) ORDER BY order_id COLLATE "C" FOR UPDATE
        """,
        f"""
        WITH keys AS (SELECT unnest(%s::text[]) AS order_id),
          decided AS (SELECT order_id, {_OF_ORDER} AND order_id IN (SELECT order_id FROM keys) GROUP BY order_id),
          bank AS (SELECT order_id, {_OF_BANK} AND order_id IN (SELECT order_id FROM keys) GROUP BY order_id)
        UPDATE order_account AS stored SET approved = coalesce(decided.approved, 0), waiting = coalesce(decided.waiting, 0),
          charged_back = coalesce(bank.charged_back, 0)
        FROM keys LEFT JOIN decided USING (order_id) LEFT JOIN bank USING (order_id)
        WHERE stored.order_id = keys.order_id
        """,
    ),
}
