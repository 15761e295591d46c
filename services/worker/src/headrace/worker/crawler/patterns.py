"""Regular expressions of submitters, on an engine whose time is linear in the length of the URL.

Python's own engine backtracks: one pattern like `(a+)+!` would stop the whole process for minutes, in a thread as well,
because it never lets go of the interpreter. pydantic carries the engine of the Rust crate `regex`, which knows no
backtracking and therefore no look-around and no backreferences.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated

from pydantic import ConfigDict, StringConstraints, TypeAdapter

MAX_SIZE = 2000
"""Of all patterns of one list together, each counted repetition written out; keeps one look at a URL under 0.2 s."""

Matches = Callable[[str], bool]

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d*),?(\d*)\}|.", re.DOTALL)


@lru_cache(maxsize=8)
def any_of(patterns: tuple[str, ...]) -> Matches:
    """A function that says whether one of the patterns matches the whole of a URL.

    Args:
        patterns: At least one. The dialect is that of the Rust crate `regex`, as far as Python reads it too.

    Raises:
        ValueError: With the rule that is broken, for people.
    """
    for number, pattern in enumerate(patterns):
        try:
            re.compile(pattern)  # alone, so that no parenthesis of one closes in another
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"pattern {number} is not a regular expression: {error}") from None
    if sum(size_of(pattern) for pattern in patterns) > MAX_SIZE:
        raise ValueError(f"the patterns are too large: with repetitions written out, {MAX_SIZE} characters are allowed")
    together = "|".join(f"(?:{pattern})" for pattern in patterns)
    try:
        adapter: TypeAdapter[str] = TypeAdapter(
            Annotated[str, StringConstraints(pattern=rf"\A(?:{together})\z")],
            config=ConfigDict(regex_engine="rust-regex"),
        )
    except Exception as error:  # noqa: BLE001  -- pydantic's core has a class for this, pydantic itself no name
        # The last sentence says which construct it is; the lines before point into the joined text.
        raise ValueError(f"the patterns cannot be used: {_reason(error)}") from None
    return adapter.validator.isinstance_python


def size_of(pattern: str) -> int:
    """How long a pattern is with every counted repetition written out: `a(?:bc){3}` is 7."""
    groups: list[tuple[int, int]] = []
    total = last = 0
    for token in _TOKEN.finditer(pattern):
        text = token[0]
        if text == "(":
            groups.append((total, last))
            total = last = 0
        elif text == ")" and groups:
            inner = total
            total, _ = groups.pop()
            total, last = total + inner, inner
        elif len(text) > 1 and text[0] == "{":
            more = last * (max(int(token[1] or 1), int(token[2] or 1)) - 1)
            total, last = total + more, last + more
        else:
            total, last = total + 1, 1
    return total


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text.rpartition("error: ")[2].removeprefix("SchemaError: ")[:200]
