"""API keys: 256 random bits, shown once, kept as a hash, with scopes."""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

from risk.errors import InputError, Problem
from serving.store.database import Database

SCOPES = ("claims:write", "claims:read", "events:write", "admin")
_PREFIX = "rk"
_REMEMBERED_SECONDS = 2.0
"""How long a worker trusts a key without asking again: a revoked key is dead everywhere within this time."""


@dataclass(frozen=True)
class Key:
    """A known key."""

    key_id: str
    name: str
    scopes: frozenset[str]


class Keys:
    """Makes, checks and revokes keys. A random secret of this length needs no slow hash."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, tuple[float, Key]] = {}

    def create(self, name: str, scopes: list[str]) -> str:
        """A new key, to be shown once; raises InputError for unknown scopes."""
        problems = [Problem("--scope", f"{scope!r}: one of {', '.join(SCOPES)} is expected") for scope in scopes if scope not in SCOPES]
        if not scopes or not name.strip():
            problems.append(Problem("keys create", "a name and at least one scope are expected"))
        if problems:
            raise InputError(problems)
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        self._database.run(
            lambda connection: connection.execute(
                "INSERT INTO api_key VALUES (%s, %s, %s, %s, %s)",
                (key_id, name, _hash(secret), sorted(set(scopes)), time.time_ns() // 1000),
            )
        )
        return f"{_PREFIX}_{key_id}_{secret}"

    def check(self, text: str) -> Key | None:
        """The key that `text` is, or None."""
        seen = self._known.get(text)
        if seen is not None and seen[0] > time.monotonic():
            return seen[1]
        prefix, _, rest = text.partition("_")
        key_id, _, secret = rest.partition("_")
        if prefix != _PREFIX or not secret or not text.isascii() or "\0" in text:
            return None
        row = self._database.run(
            lambda connection: connection.execute(
                "SELECT name, secret_hash, scopes FROM api_key WHERE key_id = %s AND revoked_at IS NULL", (key_id,)
            ).fetchone()
        )
        if row is None or not hmac.compare_digest(bytes(row[1]), _hash(secret)):
            self._known.pop(text, None)
            return None
        key = Key(key_id, row[0], frozenset(row[2]))
        self._known[text] = (time.monotonic() + _REMEMBERED_SECONDS, key)
        return key

    def revoke(self, key_id: str) -> bool:
        """Whether there was a live key of that id."""
        return self._database.run(
            lambda connection: connection.execute(
                "UPDATE api_key SET revoked_at = %s WHERE key_id = %s AND revoked_at IS NULL",
                (time.time_ns() // 1000, key_id),
            ).rowcount
        ) == 1

    def listed(self) -> list[tuple[str, str, list[str], bool]]:
        """Every key: id, name, scopes, whether it is live."""
        rows = self._database.run(
            lambda connection: connection.execute(
                "SELECT key_id, name, scopes, revoked_at IS NULL FROM api_key ORDER BY created_at"
            ).fetchall()
        )
        return [(row[0], row[1], row[2], row[3]) for row in rows]


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
