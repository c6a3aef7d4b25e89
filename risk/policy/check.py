"""`check`: everything that is wrong about policy files, each with its line, and whether they fit together."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from risk.errors import Problem, SettingError
from risk.policy.definition import Policies, Policy, read_policy
from risk.policy.lines import line_of, lines
from risk.policy.words import validity

_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="policy as TOML; several may not overlap in time")


def run(args: argparse.Namespace) -> None:
    """One line for each file, if nothing is wrong with any."""
    for file, policy in read_files(args.files):
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
