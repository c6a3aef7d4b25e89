"""How bulk features and training grow with the history."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.marketplace import Place

SIZES = (10_000, 100_000, 1_000_000)
_FEATURES = """
import json, sys, time
from pathlib import Path
from training.dataset import build_matrix
from training.history import open_history
start = time.perf_counter()
with open_history(Path(sys.argv[1])) as history:
    shape = build_matrix(history).values.shape
print(json.dumps({"claims": shape[0], "features": shape[1], "seconds": round(time.perf_counter() - start, 1)}))
"""


def run(root: Path, sizes: tuple[int, ...] = SIZES) -> list[dict[str, Any]]:
    """Seconds and peak memory of simulation, features and training by size."""
    rows = []
    for size in sizes:
        place = Place(root / str(size))
        place.root.mkdir(parents=True, exist_ok=True)
        row: dict[str, Any] = {"claims": size}
        if not place.history.exists():
            row["simulate"] = measured(
                place, "-m", "training", "simulate", "--out", str(place.history), "--claims", str(size), "--seed", "7"
            )
        row["features"] = measured(place, "-c", _FEATURES, str(place.history))
        row["train"] = measured(
            place, "-m", "training", "train", "--history", str(place.history), "--out", str(place.root / "bundle")
        )
        rows.append(row)
        print(json.dumps(row), file=sys.stderr)
    return rows


def measured(place: Place, *arguments: str) -> dict[str, float]:
    """Wall seconds and peak resident gigabytes of one command, as a process of its own."""
    start = time.perf_counter()
    code = (
        "import json, resource, subprocess, sys\n"
        "subprocess.run([sys.executable, *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=place.environment, check=True, capture_output=True, text=True
    )
    return {"seconds": round(time.perf_counter() - start, 1), "peak_gb": round(int(done.stdout) / 1e6, 2)}


