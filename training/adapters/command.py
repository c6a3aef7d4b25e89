"""`python -m training adapt NAME --source FILE --out DIR`."""

import argparse
from dataclasses import asdict
from pathlib import Path

from training.adapters import online_retail

ADAPTERS = {"online_retail": online_retail}


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `adapt`."""
    parser.add_argument("name", choices=sorted(ADAPTERS), help="which data the source holds")
    parser.add_argument("--source", type=Path, required=True, help="the file to read; it is not changed")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the history to write")


def run(args: argparse.Namespace) -> None:
    """Adapt, and say what was left out."""
    adapter = ADAPTERS[args.name]
    counts = adapter.adapt(args.source, args.out)
    for name, number in asdict(counts).items():
        print(f"{number:>9,}  {name.replace('_', ' ')}")
    print(f"{adapter.MEANING}\n{args.out}: {', '.join(f'{table}.parquet' for table in adapter.TABLES)}")
