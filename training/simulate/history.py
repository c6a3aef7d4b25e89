"""Write a simulated history: into a temporary folder beside its place, moved there when all of it is done."""

import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from training.simulate.columns import length
from training.simulate.engine import Engine, Settings, Week
from training.simulate.parameters import Parameters, load
from training.simulate.tables import Shapes, Sink


@dataclass(frozen=True)
class Summary:
    """What was written, in figures that the history itself would not betray or that belong to the oracle."""

    out: Path
    oracle: Path
    rows: dict[str, int]
    first: datetime
    last: datetime
    abuse: float
    definition: str

    def __str__(self) -> str:
        lines = [f"history      {self.out}", f"period       {self.first:%Y-%m-%d} to {self.last:%Y-%m-%d}"]
        lines += [f"{name:<12} {rows:,}" for name, rows in self.rows.items()]
        lines.append(f"abuse        {self.abuse:.2%} of claims; counted is {self.definition}")
        lines.append(f"oracle       {self.oracle}")
        return "\n".join(lines)


def write_history(settings: Settings, out: Path, oracle: Path, parameters: Parameters | None = None) -> Summary:
    """Simulate and write. Whatever stops it, `out` and `oracle` are then as they were before."""
    p = parameters or load()
    out.parent.mkdir(parents=True, exist_ok=True)
    oracle.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.partial-", dir=out.parent) as place:
        half = Path(place) / "history"
        half.mkdir()
        truth = Path(place) / "oracle.parquet"
        engine = Engine(p, settings)
        rows, abusive = _write(engine, settings, half, truth)
        # Where the oracle lies on another disk, the slow copy comes before anything is moved.
        beside = oracle.with_name(f".{oracle.name}.partial")
        shutil.move(truth, beside)
        _replace(half, out, Path(place) / "old")
        beside.replace(oracle)
    return Summary(
        out=out,
        oracle=oracle,
        rows=rows,
        first=datetime.fromtimestamp(engine.start / 1e6, UTC),
        last=datetime.fromtimestamp(engine.end / 1e6 - 1, UTC),
        abuse=abusive / max(1, rows["claims"]),
        definition=p.abuse.definition,
    )


def _write(engine: Engine, settings: Settings, folder: Path, truth: Path) -> tuple[dict[str, int], int]:
    """All weeks into the tables; rows by table, and how many claims are abusive."""
    shapes = Shapes(engine.market, settings.seed)
    names = ["orders", "claims", "labels", "decisions"]
    abusive = 0
    with ExitStack() as stack:
        sinks = {name: stack.enter_context(Sink(folder / f"{name}.parquet")) for name in names}
        oracle = stack.enter_context(Sink(truth))
        for week in tqdm(engine.run(), total=engine.weeks, unit="week", file=sys.stderr, desc="simulate"):
            abusive += _write_week(week, shapes, engine.end, sinks, oracle)
    return {name: sink.rows for name, sink in sinks.items()}, abusive


def _write_week(week: Week, shapes: Shapes, end: int, sinks: dict[str, Sink], oracle: Sink) -> int:
    claims = shapes.sorted(week.claims, "submitted_at", "claim")
    if length(week.orders):
        sinks["orders"].write(shapes.orders(shapes.sorted(week.orders, "paid_at", "order"), end))
    sinks["claims"].write(shapes.claims(claims))
    sinks["labels"].write(shapes.labels(shapes.sorted(week.labels, "known_at", "claim")))
    sinks["decisions"].write(shapes.decisions(claims))
    oracle.write(shapes.oracle(claims))
    return int((claims["typology"] >= 0).sum())


def _replace(new: Path, place: Path, old: Path) -> None:
    """Move `new` to `place`; what stood there goes away only then."""
    if place.exists():
        place.rename(old)
    new.rename(place)
