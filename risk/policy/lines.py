"""Where a key stands in a TOML file: the parser of the standard library does not say."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\"-]+)\s*=")
_PART = re.compile(r'"([^"]*)"|([^.\s]+)')
Place = tuple[int | str, ...]


def lines(text: str) -> dict[Place, int]:
    """The line (from 1) of every table header and key, by its place in the document."""
    found: dict[Place, int] = {}
    tables: Counter[Place] = Counter()
    here: Place = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            here = _resolved(_parts(header[2]), tables)
            if header[1] == "[[":
                name = here
                here = (*name, tables[name])
                tables[name] += 1
            found.setdefault(here, number)
        elif key := _KEY.match(line):
            found.setdefault((*here, *_parts(key[1])), number)
    return found


def _resolved(parts: Place, tables: Mapping[Place, int]) -> Place:
    """A name below an array of tables means its newest member."""
    place: Place = ()
    for position, part in enumerate(parts):
        place = (*place, part)
        if position < len(parts) - 1 and place in tables:
            place = (*place, tables[place] - 1)
    return place


def _parts(name: str) -> Place:
    return tuple(match[1] or match[2] for match in _PART.finditer(name))


def line_of(places: Mapping[Place, int], place: Sequence[int | str]) -> int:
    """The line of a place, or of the nearest thing around it; 1 where nothing is."""
    whole = tuple(place)
    return next((places[whole[:length]] for length in range(len(whole), 0, -1) if whole[:length] in places), 1)
