"""The line of every key of a TOML file."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.policy.lines import Place, line_of, lines

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "risk").rglob("*.toml"))


def places(data: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Everything in a document, by its place."""
    members = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for name, member in members:
        yield (*place, name), member
        yield from places(member, (*place, name))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("# a = 1\n", {}),
        ("a = 1\nb = 2", {("a",): 1, ("b",): 2}),
        ("a = 1\r\n\r\nb = 2\r\n", {("a",): 1, ("b",): 3}),
        ('"food.fresh" = 1\n\'b c\' = 2\n"\\u0061" = 3', {("food.fresh",): 1, ("b c",): 2, ("a",): 3}),
        ('"a = 1" = 2', {("a = 1",): 1}),
        ('"" = 1', {("",): 1}),
        ("\n1234 = 1", {("1234",): 2}),
        ('a.b = 1\na . "c.d" = 2', {("a",): 1, ("a", "b"): 1, ("a", "c.d"): 2}),
        ("[t] # [u]\na = 1", {("t",): 1, ("t", "a"): 2}),
        ("[ t . 'u.v' ]\na = 1", {("t",): 1, ("t", "u.v"): 1, ("t", "u.v", "a"): 2}),
        ('["a]b"]\nc = 1', {("a]b",): 1, ("a]b", "c"): 2}),
        ("[a.b]\n[a]\nc = 1", {("a", "b"): 1, ("a",): 2, ("a", "c"): 3}),
        ("[[t]]\na = 1\n[[t]]\na = 1", {("t",): 1, ("t", 0): 1, ("t", 0, "a"): 2, ("t", 1): 3, ("t", 1, "a"): 4}),
        ("[[t]]\n[[t.u]]\n[[t]]\n[t.u]\na = 1",
         {("t",): 1, ("t", 0): 1, ("t", 0, "u"): 2, ("t", 0, "u", 0): 2, ("t", 1): 3, ("t", 1, "u"): 4, ("t", 1, "u", "a"): 5}),
        ("a = { b = 1, c.d = { e = 2 } }\nf = 1",
         {("a",): 1, ("a", "b"): 1, ("a", "c"): 1, ("a", "c", "d"): 1, ("a", "c", "d", "e"): 1, ("f",): 2}),
        ("a = [ # b = 1\n  { b = 1 }, # ]\n\n  { b = 2 },\n]\nc = 1",
         {("a",): 1, ("a", 0): 2, ("a", 0, "b"): 2, ("a", 1): 4, ("a", 1, "b"): 4, ("c",): 6}),
        ("a = [[], [\n1]]", {("a",): 1, ("a", 0): 1, ("a", 1): 1, ("a", 1, 0): 2}),
        ('a = "[b]" # c\nd = \'#\'\n', {("a",): 1, ("d",): 2}),
        ('a = """\nb = 1\n[c]\n\\"""\nd = 2"""\ne = 1', {("a",): 1, ("e",): 6}),
        ('a = """x"""""\nb = """"x\n"""\nc = """"""\nd = 1', {("a",): 1, ("b",): 2, ("c",): 4, ("d",): 5}),
        ("a = '''\nb = 1\n\\'''\nc = '''x'''''\nd = 1", {("a",): 1, ("c",): 4, ("d",): 5}),
        ("a = [\"\"\"\nb = 1\n\"\"\", '\"', \"'\"]\nc = 1", {("a",): 1, ("a", 0): 1, ("a", 1): 3, ("a", 2): 3, ("c",): 4}),
        ("a = 2026-02-01 00:00:00+08:00\nb = -1.5e3 # x\nc = true", {("a",): 1, ("b",): 2, ("c",): 3}),
        ("a = '\u2028\x85'\nb = 1", {("a",): 1, ("b",): 2}),
    ],
)  # fmt: skip
def test_each_key_has_its_line(text: str, expected: dict[Place, int]) -> None:
    assert {place for place, _ in places(tomllib.loads(text))} == set(expected)
    assert lines(text) == expected


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_everything_in_our_own_files_has_a_line(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert set(lines(text)) == {place for place, _ in places(tomllib.loads(text))}


NAMES = st.sampled_from(["a", "b-c", "d_e", "1", '"f.g"', "'h i'", '"[j]"', '"k = 1"', '"\\u006C"'])
NOISE = st.sampled_from(["", "\n", "\n# m = 1\n", "\n[", '# """\n', "\n\n# [n]\n", "\t# '\n"]).filter(lambda text: text.strip() != "[")
DECOYS = st.sampled_from(['"""\np = 1\n"""', "'''\n[q]\n'''", '"r = 1"', "'# s'", "true", "1979-05-27 07:32:00Z", '"\\""', '"""t""""'])


class Writer:
    """A document that is written with numbers, each of which occurs once."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw, self.number = draw, 10**6

    def document(self) -> str:
        parts = [self.pairs()]
        for name in self.draw(st.lists(st.sampled_from(["u", "v", "w"]), max_size=4)):
            sub = self.draw(st.sampled_from(["", f".x{self.fresh()}", f' . "y.{self.fresh()}" ']))
            parts.append(f"[[{name}]]{self.draw(NOISE)}\n" + self.pairs())
            parts.append(f"[{name}{sub}]\n{self.pairs()}" if sub else "")
        return "".join(parts)

    def fresh(self) -> int:
        self.number += 1
        return self.number

    def pairs(self) -> str:
        names = self.draw(st.lists(NAMES, max_size=3, unique=True))
        return "".join(f"{name}{self.dotted()} = {self.value(2)}{self.draw(NOISE)}\n" for name in names)

    def dotted(self) -> str:
        return self.draw(st.sampled_from(["", "", ".x", " . 'y.z'"]))

    def value(self, depth: int) -> str:
        kind = self.draw(st.sampled_from(["number", "decoy", "array", "table"] if depth else ["number", "decoy"]))
        if kind == "array":
            members = [self.value(depth - 1) for _ in range(self.draw(st.integers(0, 3)))]
            return "[" + "".join(f"{self.gap()}{member}{self.gap()}," for member in members) + self.gap() + "]"
        if kind == "table":
            names = self.draw(st.lists(NAMES, max_size=2, unique=True))
            return "{ " + ", ".join(f"{name} = {self.value(depth - 1)}" for name in names) + " }"
        return str(self.fresh()) if kind == "number" else self.draw(DECOYS)

    def gap(self) -> str:
        return self.draw(st.sampled_from(["", " ", "\n", " # z = [1\n  "]))


documents = st.composite(lambda draw: Writer(draw).document())


@given(documents())
def test_everything_that_the_parser_reads_has_a_line_and_each_number_stands_on_its_own(text: str) -> None:
    data = tomllib.loads(text)
    found, written = lines(text), text.split("\n")
    assert set(found) == {place for place, _ in places(data)}
    for place, value in places(data):
        if isinstance(value, int) and not isinstance(value, bool):
            assert str(value) in written[found[place] - 1]


def test_the_line_of_what_is_missing_is_that_of_what_is_around_it() -> None:
    found = lines("a = 1\n[t]\n[t.u]\nb = 1")
    assert line_of(found, ("t", "u", "b", 3, "x")) == 4
    assert line_of(found, ("t", "u", "c")) == 3
    assert line_of(found, ("t", "v")) == 2
    assert line_of(found, ("c",)) == line_of(found, ()) == 1
