"""One line of text for a person, whatever the value that it is about."""

from __future__ import annotations

import reprlib
from typing import Any


class _Brief(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write a very long one.
        return repr(x) if abs(x) < 10**30 else "a whole number of more than 30 digits"


_BRIEF = _Brief()
_BRIEF.maxstring = _BRIEF.maxother = 80
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = 6
_BRIEF.maxlevel = 3


def shown(value: Any) -> str:
    """A value as it stands in a message: its representation, shortened, of at most 80 characters."""
    return short(_BRIEF.repr(value))


def short(text: str, most: int = 80) -> str:
    """``text``, cut to at most ``most`` characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def one_line(text: str) -> str:
    """``text`` with runs of white space as one space, and escapes for characters that a terminal obeys or cannot show."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))
