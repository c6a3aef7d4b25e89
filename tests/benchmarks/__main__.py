"""`python -m tests.benchmarks [decisions|quotas|cover|long_history|bulk|certificates|backtest ...]`: figures as JSON on standard output."""

import argparse
import json
import os
from pathlib import Path

from tests.benchmarks import backtest, bulk, certificates, cover, decisions, long_history, quotas


def main() -> None:
    """Run what was asked for, everything by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("which", nargs="*", default=["decisions", "quotas", "cover", "long_history", "bulk", "certificates", "backtest"])
    parser.add_argument("--dir", type=Path, default=Path("var") / "bench", help="kept between runs")
    parser.add_argument("--claims", type=int, nargs="*", help="sizes for bulk (default: 10,000 to 1,000,000)")
    parser.add_argument("--repetitions", type=int, default=500, help="of each scenario of certificates")
    args = parser.parse_args()
    root = args.dir.resolve()
    figures: dict[str, object] = {"machine": {"cores": os.cpu_count(), "load": os.getloadavg()}}
    for which in args.which:
        if which == "decisions":
            figures[which] = decisions.run(root / "decisions")
        elif which == "quotas":
            figures[which] = quotas.run(root / "quotas")
        elif which == "cover":
            figures[which] = cover.run()
        elif which == "long_history":
            figures[which] = long_history.run()
        elif which == "bulk":
            figures[which] = bulk.run(root / "bulk", tuple(args.claims or bulk.SIZES))
        elif which == "certificates":
            figures[which] = certificates.run(root / "certificates", args.repetitions)
        elif which == "backtest":
            figures[which] = backtest.run(root / "backtest")
        else:
            parser.error(f"unknown benchmark: {which}")
    figures["machine_after"] = {"load": os.getloadavg()}
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
