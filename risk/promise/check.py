"""`appetite`: everything that is wrong about an appetite, or what it comes to in plain words."""

import argparse
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from risk.errors import SettingError
from risk.policy.definition import load_policies
from risk.promise.appetite import Appetite, Segment, load_appetite, unknown_guarantees


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", type=Path, nargs="?", help="TOML file (default: the one that ships)")


def run(args: argparse.Namespace) -> None:
    """Say what the appetite comes to; a SettingError names everything that does not hold together."""
    appetite = load_appetite(args.file)
    if problems := unknown_guarantees(appetite, load_policies()):
        raise SettingError(problems)
    print("\n".join(_lines(appetite)))


def _lines(appetite: Appetite) -> Iterator[str]:
    promise, audit = appetite.promise, appetite.audit
    yield f"appetite {appetite.version} ({appetite.digest}); money in minor units"
    yield (
        f"all promises together hold with confidence {1 - promise.delta:.1%}; claims count as evidence after {promise.mature_days:g} "
        f"days, a certificate lapses after {promise.valid_days:g} days; tests of one bundle: {promise.looks}"
    )
    for segment in appetite.segment:
        yield f"segment {segment.name}: {_who(segment)}"
        alpha = appetite.alpha_of(segment)
        least = math.ceil(math.log(appetite.error) / math.log1p(-alpha))
        yield f"  at most {alpha:.2%} of the money is abuse; shown by {least:,} drawn claims or more, none of them abusive"
    often = f", at least {audit.at_least:.1%}" if audit.at_least else ""
    yield f"audits: {audit.rate:.0%} of a segment's largest amounts, less in proportion to the amount{often}"
    for step in appetite.trust.step:
        asked = [
            f"{value:,g} {what}"
            for value, what in ((step.orders, "orders in a year"), (step.spent, "spent on them"), (step.settled, "settled approvals"), (step.account_days, "days of account"))
            if value
        ]
        yield f"quota of a buyer, {step.name}: {_money(step.limit)}" + (f" with {', '.join(asked)}" if asked else "")
    for kind in ("device", "address", "payment", "merchant", "guarantee", "hour", "day"):
        yield f"quota of {'an' if kind[0] in 'ah' else 'a'} {kind}: {_money(getattr(appetite.quota, kind))}"


def _who(segment: Segment) -> str:
    parts = [f"up to {_money(segment.largest)}"]
    if segment.guarantees:
        parts.append(f"covered by {' or '.join(segment.guarantees)}")
    if segment.categories:
        parts.append(f"of {' or '.join(segment.categories)}")
    if segment.buyer_days_below is not None:
        parts.append(f"of buyers whose account is younger than {segment.buyer_days_below:g} days, or of unknown age")
    return ", ".join(parts)


def _money(amounts: Mapping[str, int]) -> str:
    return " or ".join(f"{amount:,} {currency}" for currency, amount in amounts.items())
