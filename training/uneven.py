"""The first line of a CSV that does not fit its header: what a person has to mend, where a reader only gives up."""

import csv
from pathlib import Path

DELIMITERS = (",", ";", "\t", "|")


def delimiter(header: str) -> str | None:
    """The delimiter that a header is written with, or None for a single name."""
    found = max(DELIMITERS, key=header.count)
    return found if found in header else None


def uneven_line(file: Path) -> str | None:
    """A sentence about the first line that has more or fewer cells than the header; None where all lines agree."""
    with file.open(encoding="utf-8", errors="replace", newline="") as lines:
        separator = delimiter(lines.readline())
        lines.seek(0)
        if separator is None:
            return None
        rows = csv.reader(lines, delimiter=separator)
        wanted, before = 0, 0
        try:
            for row in rows:
                # A text in quotes may go on over several lines: what is told is the line that the row begins on.
                begins, before = before + 1, rows.line_num
                wanted = wanted or len(row)
                # An empty line holds no row.
                if row and len(row) != wanted:
                    return f"{file.name} line {begins} has {_cells(len(row))}, the header has {wanted}"
        except csv.Error as error:
            return f"{file.name} line {rows.line_num}: {error}"
    return None


def _cells(count: int) -> str:
    return f"{count} cell" if count == 1 else f"{count} cells"
