"""Settings from the environment, read once and checked together."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from risk.errors import Problem, SettingError

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """Everything that an operator can set; docs/operations.md has the table."""

    database_url: str | None = None
    """PostgreSQL; without it an embedded one runs in `data_dir`."""
    data_dir: Path = ROOT / "var"
    bundle_dir: Path = ROOT / "bundles" / "champion"
    appetite: Path | None = None
    """The owner's appetite; without it the one that this version ships."""
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 2
    threads: int = 2
    statement_timeout_ms: int = 1000
    max_body_bytes: int = 256 * 1024
    log_level: str = "info"
    demo_claims: int = 40_000
    """Size of the demonstration's marketplace; fewer than are allowed do not train."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read and check; a SettingError lists every variable that makes no sense."""
        given = os.environ if environment is None else environment
        problems: list[Problem] = []

        def number(name: str, default: int, least: int, most: int) -> int:
            text = given.get(name, str(default))
            if text.isdecimal() and least <= int(text) <= most:
                return int(text)
            problems.append(Problem(name, f"{text!r} is not a whole number from {least} to {most}"))
            return default

        settings = cls(
            database_url=given.get("DATABASE_URL") or None,
            data_dir=Path(given.get("DATA_DIR", cls.data_dir)).absolute(),
            bundle_dir=Path(given.get("BUNDLE_DIR", cls.bundle_dir)).absolute(),
            appetite=Path(given["APPETITE"]).absolute() if given.get("APPETITE") else None,
            host=given.get("HOST", cls.host),
            port=number("PORT", cls.port, 1, 65535),
            workers=number("WORKERS", cls.workers, 1, 64),
            threads=number("THREADS", cls.threads, 1, 64),
            statement_timeout_ms=number("STATEMENT_TIMEOUT_MS", cls.statement_timeout_ms, 10, 10_000),
            max_body_bytes=number("MAX_BODY_BYTES", cls.max_body_bytes, 1024, 64 * 1024 * 1024),
            log_level=given.get("LOG_LEVEL", cls.log_level).lower(),
            demo_claims=number("DEMO_CLAIMS", cls.demo_claims, 8_000, 2_000_000),
        )
        if settings.log_level not in ("debug", "info", "warning", "error"):
            problems.append(Problem("LOG_LEVEL", "one of debug, info, warning, error is expected"))
        if settings.database_url and not settings.database_url.startswith(("postgresql://", "postgres://")):
            problems.append(Problem("DATABASE_URL", "a postgresql:// address is expected"))
        if problems:
            raise SettingError(problems)
        return settings
