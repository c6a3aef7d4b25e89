"""Where a key stands in a TOML file: the parser of the standard library does not say."""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence

Place = tuple[int | str, ...]

_SPACE = re.compile(r"[ \t]*")
_BETWEEN = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?!")'  # over several lines; up to two quotes more may stand before the closing ones
    r"|'''.*?'''(?!')"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def lines(text: str) -> dict[Place, int]:
    """The line (from 1) of every table, key and member of an array, by its place in the document, which has to be TOML."""
    return _Scan(text).found()


def line_of(places: Mapping[Place, int], place: Sequence[int | str]) -> int:
    """The line of a place, or of the nearest thing around it; 1 where nothing is."""
    whole = tuple(place)
    return next((places[whole[:length]] for length in range(len(whole), 0, -1) if whole[:length] in places), 1)


class _Scan:
    """One walk through a document that the parser has already found sound: nothing is checked here."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._counted, self._line = 0, 1
        self._said: dict[Place, int] = {}
        self._implied: dict[Place, int] = {}
        """Tables that only a longer name mentions: `[a.b]` implies `a`."""
        self._members: Counter[Place] = Counter()

    def found(self) -> dict[Place, int]:
        here: Place = ()
        self._skip(_BETWEEN)
        while self._at < len(self._text):
            if self._next("["):
                here = self._header()
            else:
                self._pair(here)
            self._skip(_BETWEEN)
        return self._implied | self._said

    def _header(self) -> Place:
        """The table that a header opens."""
        line, brackets = self._here(), 2 if self._next("[[") else 1
        self._at += brackets
        place = self._resolved(self._key())
        self._at += brackets
        if brackets == 2:
            self._implied.setdefault(place, line)
            self._members[place] += 1
            place = (*place, self._members[place] - 1)
        self._note(place, line)
        return place

    def _resolved(self, names: Place) -> Place:
        """A name below an array of tables means its newest member."""
        place: Place = ()
        for position, name in enumerate(names):
            place = (*place, name)
            if position < len(names) - 1 and place in self._members:
                place = (*place, self._members[place] - 1)
        return place

    def _pair(self, here: Place) -> None:
        line, names = self._here(), self._key()
        self._at += 1  # the equals sign
        self._note((*here, *names), line)
        self._value((*here, *names))

    def _key(self) -> Place:
        names: list[str] = []
        while not names or self._next("."):
            self._at += len(names) > 0
            self._skip(_SPACE)
            quoted = self._next('"') or self._next("'")
            word = self._skip(_STRING if quoted else _BARE)
            names.append(tomllib.loads(f"name = {word}")["name"] if quoted else word)
            self._skip(_SPACE)
        return tuple(names)

    def _value(self, place: Place) -> None:
        self._skip(_SPACE)
        if self._next("["):
            self._inside("]", place, is_array=True)
        elif self._next("{"):
            self._inside("}", place, is_array=False)
        elif self._next('"') or self._next("'"):
            self._skip(_STRING)
        else:
            self._skip(_SCALAR)

    def _inside(self, end: str, place: Place, *, is_array: bool) -> None:
        self._at += 1
        number = 0
        self._skip(_BETWEEN)
        while not self._next(end):
            if is_array:
                self._note((*place, number), self._here())
                self._value((*place, number))
            else:
                self._pair(place)
            number += 1
            self._skip(_BETWEEN)
            self._at += self._next(",")
            self._skip(_BETWEEN)
        self._at += 1

    def _note(self, place: Place, line: int) -> None:
        self._said.setdefault(place, line)
        for length in range(1, len(place)):
            self._implied.setdefault(place[:length], line)

    def _next(self, mark: str) -> bool:
        return self._text.startswith(mark, self._at)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        return match[0]

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line
