"""JSON texts of users as they are shown: indented, secrets blotted out, cut where they are long."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

SHOWN_CHARACTERS = 20_000
HIDDEN: Final = "***"
SECRET_WORDS: Final = (
    "password", "passwd", "passphrase", "secret", "token", "authorization", "cookie", "api_key", "apikey", "api-key",
    "private_key", "credential",
)  # fmt: skip
"""A key whose name contains one of these is blotted out, and so is every one that `JOB_REDACT_KEYS` names."""


@dataclass(frozen=True)
class Shown:
    """A text to show.

    Attributes:
        text: Perhaps its beginning alone.
        size: Of the whole stored text, in bytes.
        cut: Whether something is missing at the end.
        hidden: How many values were blotted out.
    """

    text: str
    size: int
    cut: bool
    hidden: int


class _Number(str):
    """A number as it was written: digits that a float would lose are kept."""

    __slots__ = ()


def show(text: str | None, *, redact: Collection[str], limit: int = SHOWN_CHARACTERS) -> Shown | None:
    """A stored JSON text for a page; None when there is none.

    Args:
        text: JSON. What cannot be read as such is not shown at all: secrets could not be found in it.
        redact: Further names of keys, matched whole, in any case.
        limit: Characters at most.
    """
    if text is None:
        return None
    size = len(text.encode())
    try:
        value = json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_Number)
    except (ValueError, RecursionError):
        return Shown("(this is no JSON that can be shown)", size, cut=True, hidden=0)
    writer = _Writer({name.lower() for name in redact})
    pieces: list[str] = []
    length = 0
    for piece in writer.lines(value, "", "\n"):
        pieces.append(piece)
        length += len(piece)
        if length > limit:
            return Shown("".join(pieces)[:limit], size, cut=True, hidden=writer.hidden)
    return Shown("".join(pieces), size, cut=False, hidden=writer.hidden)


class _Writer:
    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self.hidden = 0

    def lines(self, value: Any, indent: str, new_line: str) -> Iterator[str]:
        deeper = indent + "  "
        if isinstance(value, dict) and value:
            yield "{" + new_line
            for number, (name, item) in enumerate(value.items()):
                yield ("," + new_line if number else "") + deeper + _quoted(name) + ": "
                if self._is_secret(name):
                    self.hidden += 1
                    yield _quoted(HIDDEN)
                else:
                    yield from self.lines(item, deeper, new_line)
            yield new_line + indent + "}"
        elif isinstance(value, list) and value:
            yield "[" + new_line
            for number, item in enumerate(value):
                yield ("," + new_line if number else "") + deeper
                yield from self.lines(item, deeper, new_line)
            yield new_line + indent + "]"
        elif isinstance(value, _Number):
            yield str(value)
        else:
            yield _quoted(value)

    def _is_secret(self, name: str) -> bool:
        lowered = name.lower()
        return lowered in self._names or any(word in lowered for word in SECRET_WORDS)


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
