"""What pydantic found wrong with a body, as problems with JSON pointers."""

from collections.abc import Sequence

from pydantic import ValidationError

from risk.claim import PLAIN
from risk.errors import Problem

MOST_PROBLEMS = 10_000


def problems_of(error: ValidationError) -> list[Problem]:
    """Every error of a body with a JSON pointer to its place; only their number where nobody would read them."""
    if error.error_count() > MOST_PROBLEMS:
        return [Problem("", f"{error.error_count():,} errors, too many to list: is this the body of another call?")]
    parts = error.errors(include_url=False, include_input=False, include_context=False)
    refused = {part["loc"][:length] for part in parts for length in range(len(part["loc"]))}
    found: dict[str, list[str]] = {}
    for part in parts:
        if part["type"] == "too_short" and part["loc"] in refused:
            continue  # Refused items are not counted, so a list of them seems too short.
        found.setdefault(_pointer(part["loc"]), []).append(_sentence(part["type"], part["msg"]))
    # A union says what each of its members missed; that is one error at one place.
    return [Problem(pointer, "; or ".join(dict.fromkeys(sentences))) for pointer, sentences in found.items()]


def _pointer(location: Sequence[int | str]) -> str:
    """A JSON pointer; the member that a union tried is no part of the document and is left out."""
    parts = [str(part) for part in location]
    if parts[:1] == ["events"]:
        del parts[2:3]
    if "extra" in parts:
        del parts[parts.index("extra") + 2 :]
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def _sentence(kind: str, message: str) -> str:
    message = message.removeprefix("Value error, ")
    if PLAIN in message:
        return "characters that cannot be seen (control characters, changes of direction) are not expected"
    return "unknown field" if kind == "extra_forbidden" else message[0].lower() + message[1:]
