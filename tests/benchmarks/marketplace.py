"""A simulated marketplace, a bundle and a loaded store for the benchmarks."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

import joblib
import pandas as pd
import psycopg
from ibis import _
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from risk.features.definition import NUMBERS, TEXTS
from serving.store import embedded
from tests.replay import body
from training.dataset import labels_at, rows_until
from training.history import open_history

DAYS = 548


@dataclass(frozen=True)
class Place:
    """Where everything lies."""

    root: Path
    database: str | None = None
    """The store's address; the embedded one under `root` without it."""

    @property
    def history(self) -> Path:
        return self.root / "history"

    @property
    def bodies(self) -> Path:
        return self.root / "bodies.jsonl"

    @property
    def flat(self) -> Path:
        return self.root / "flat.jsonl"

    @property
    def pipeline(self) -> Path:
        return self.root / "pipeline.joblib"

    @property
    def appetite(self) -> Path:
        return self.root / "appetite.toml"

    @property
    def environment(self) -> dict[str, str]:
        """For every process of the benchmark."""
        return os.environ | {
            "DATA_DIR": str(self.root / "var"),
            "BUNDLE_DIR": str(self.root / "bundles" / "champion"),
            "BUNDLE_KEY": "benchmark " * 4,
            "TUTORIAL_PIPELINE": str(self.pipeline),
            "APPETITE": str(self.appetite),
            "LOG_LEVEL": "info",
            **({"DATABASE_URL": self.database} if self.database else {}),
        }

    def command(self, *arguments: str) -> str:
        """Run one of the project's commands and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments], env=self.environment, check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout.strip()


def prepare(root: Path, claims: int) -> Place:
    """Simulate until yesterday, train, promote, load; what is there already is reused."""
    place = Place(root)
    root.mkdir(parents=True, exist_ok=True)
    place.appetite.write_text(_spacious())
    start = datetime.now(UTC).date() - timedelta(days=DAYS)
    if not place.history.exists():
        place.command("training", "simulate", "--out", str(place.history), "--claims", str(claims), "--seed", "7",
                      "--start", str(start), "--days", str(DAYS))  # fmt: skip
    if not (root / "bundles" / "champion").exists():
        candidate = str(root / "bundles" / "candidate")
        place.command("training", "train", "--history", str(place.history), "--out", candidate)
        place.command("training", "certify", "--history", str(place.history), "--bundle", candidate)
        place.command("training", "promote", candidate)
    place.command("serving", "migrate")
    if not (root / "log.parquet").exists():
        place.command("training", "log", "--history", str(place.history), "--out", str(root / "log.parquet"))
        place.command("serving", "load", str(root / "log.parquet"))
    if not place.bodies.exists():
        _write_bodies(place)
    return place


def _spacious() -> str:
    """The shipped appetite with room in every shared quota: a day's money passes in a minute here."""
    text = resources.files("risk.promise").joinpath("appetite.toml").read_text(encoding="utf-8")
    spacious, found = re.subn(r"^(merchant|guarantee|hour|day) = \{ CNY = \d+ \}", r"\1 = { CNY = 100000000000 }", text, flags=re.MULTILINE)
    assert found == 4
    return spacious


def fresh_copy(place: Place) -> Place:
    """The place with a copy of its loaded store, so that a run does not see what earlier runs left behind."""
    loaded = urlsplit(embedded.start(place.root / "var" / "postgres"))
    with psycopg.connect(loaded._replace(path="/template1").geturl(), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS bench WITH (FORCE)")
        connection.execute(f'CREATE DATABASE bench TEMPLATE "{loaded.path[1:]}"')
        connection.execute("CHECKPOINT")
    return replace(place, database=loaded._replace(path="/bench").geturl())


def _write_bodies(place: Place) -> None:
    """The newer half of the claims as requests, and flat for the tutorial, with its pipeline fitted on the older."""
    with open_history(place.history) as history:
        half = rows_until(history, None) // 2
        claims = history.claims.order_by("row")
        rows = claims.filter(_.row >= half).to_pyarrow().to_pylist()
        columns = [*(name for name in NUMBERS), *(name for name in TEXTS if name not in ("description", "tracking_number"))]
        frame = claims.filter(_.row < half).select("row", *columns).to_pyarrow().to_pandas().set_index("row")
        labels = labels_at(history, None).set_index("row")["label"]
        signals = history.signals
    _write_lines(place.bodies, [{**body(row, signals), "claim_id": "@"} for row in rows])
    _write_lines(place.flat, [{name: row[name] for name in columns} for row in rows])
    known = frame.join(labels, how="inner")
    known = known[known["label"] != "undecided"]
    words = make_column_selector(dtype_include=[object, "string"])
    pipeline = make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore", sparse_output=False), words),
            (SimpleImputer(keep_empty_features=True), make_column_selector(dtype_include="number")),
        ),
        HistGradientBoostingClassifier(random_state=7),
    )
    plain = known[columns].astype({name: "float64" for name in columns if name in NUMBERS})
    joblib.dump(pipeline.fit(plain, known["label"] == "abuse"), place.pipeline)


def _write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in pd.Series(rows).sample(frac=1, random_state=7)))
