"""`check`: everything that is wrong about policy files, each with its line, and whether they fit together.

What holds together and is hardly meant is a warning on standard error.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from risk.errors import Problem, SettingError
from risk.policy.definition import Guarantee, Policies, Policy, read_policy
from risk.policy.lines import line_of, lines
from risk.policy.words import validity

_SPELT: Mapping[int, tuple[str, str]] = {7: ("seven", "七"), 60: ("sixty", "六十"), 730: ("two years", "两年")}
"""How sentences write a length in English and Chinese where not in digits."""
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="policy as TOML; several may not overlap in time")


def run(args: argparse.Namespace) -> None:
    """One line for each file, if nothing is wrong with any."""
    read = read_files(args.files)
    for problem in warnings(read):
        print(f"warning: {problem}", file=sys.stderr)
    for file, policy in read:
        rules = sum(1 for guarantee in policy.guarantees.values() for _ in guarantee.rules())
        print(f"{file}: {policy.version}, {validity(policy, 'en')}; guarantees: {len(policy.guarantees)}, rules: {rules}")


def read_files(files: Sequence[Path]) -> list[tuple[Path, Policy]]:
    """Policies in the order of their files; a SettingError names all that is wrong in any of them or between them."""
    read: list[tuple[Path, Policy]] = []
    named: list[tuple[str, Policy]] = []
    problems: list[Problem] = []
    for file in files:
        try:
            text = read_text(file)
            read.append((file, read_policy(text, str(file))))
            # What is wrong between files is a matter of when each one begins.
            named.append((f"{file}:{line_of(lines(text), ('valid_from',))}", read[-1][1]))
        except SettingError as error:
            problems += [_with_line(problem) for problem in error.problems]
    try:
        Policies(named)
    except SettingError as error:
        problems += error.problems
    if problems:
        raise SettingError(problems)
    return read


def warnings(read: Sequence[tuple[Path, Policy]]) -> Iterator[Problem]:
    """What is allowed and hardly meant: gaps between policies, sentences and values that say different things."""
    for (_, one), (file, other) in pairwise(sorted(read, key=lambda pair: pair[1].valid_from)):
        if one.valid_until is not None and one.valid_until < other.valid_from:
            gap = f"nothing holds from {one.valid_until.isoformat()}, where {one.version} ends, until {other.version} begins"
            yield Problem(f"{file}:{line_of(lines(read_text(file)), ('valid_from',))}", gap)
    for file, policy in read:
        places = lines(read_text(file))
        for code, guarantee in policy.guarantees.items():
            for place, said in _odd(guarantee):
                yield Problem(f"{file}:{line_of(places, ('guarantees', code, *place))}", f"{code}: {said}")


def _odd(guarantee: Guarantee) -> Iterator[tuple[tuple[int | str, ...], str]]:
    for number, window in enumerate(guarantee.window):
        length, unit = (window.hours, "hours") if window.days is None else (window.days, "days")
        for language, sentence in (("English", window.en), ("Chinese", window.zh)):
            if length is not None and not _says(sentence, length):
                yield ("window", number), f"window: the {language} sentence does not say {length} {unit}"
    most, kept = guarantee.amount.most, guarantee.keeps_goods_up_to
    if most is not None and kept is not None and most > kept:
        yield ("amount", "most"), f"amount: most is {most}, but goods are kept up to {kept} only: above that they have to come back"


def _says(sentence: str, length: int) -> bool:
    spelt = any(word in sentence.lower() for word in _SPELT.get(length, ()))
    return spelt or re.search(rf"(?<!\d){length}(?!\d)", sentence) is not None


def read_text(file: Path) -> str:
    """A file's text; a SettingError says in a sentence why there is none."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingError([Problem(str(file), f"cannot be read: {str(error.strerror).lower()}")]) from error
    except UnicodeDecodeError as error:
        raise SettingError([Problem(str(file), f"is not a text in UTF-8 (byte {error.start})")]) from error


def _with_line(problem: Problem) -> Problem:
    """The parser says its line last; here it stands where all others stand."""
    found = _AT_LINE.search(problem.detail)
    return replace(problem, where=f"{problem.where}:{found[1]}") if found else problem
