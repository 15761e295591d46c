"""Where a command says what: results on standard output, everything else on standard error where JSON is asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from pydantic import BaseModel
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 400
"""Where there is no terminal to ask, tables are as wide as their rows."""


class Output:
    """Standard output and error of one command.

    Args:
        as_json: Results are JSON documents, and people are told things on standard error.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = _console(sys.stderr if as_json else sys.stdout)
        """For people."""
        self.errors = _console(sys.stderr)

    @property
    def is_live(self) -> bool:
        """Whether there is a terminal on which something can move."""
        return self.console.is_terminal

    def document(self, value: Any) -> None:
        """Write a result as one indented JSON document."""
        self._write(value, indent=2)

    def line(self, value: Any) -> None:
        """Write one of many results as a line of JSON."""
        self._write(value, indent=None)

    def say(self, text: str | Text = "", *, style: str | None = None) -> None:
        """Tell people something: no markup, no wrapping."""
        self.console.print(text, style=style, markup=False, soft_wrap=True)

    def warn(self, text: str | Text, *, style: str | None = None) -> None:
        """The same, always on standard error."""
        self.errors.print(text, style=style, markup=False, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
        """Show rows under headings; a heading that begins with `>` is of a column of numbers."""
        self.console.print(make_table(columns, rows))

    def _write(self, value: Any, *, indent: int | None) -> None:
        ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
        text = json.dumps(plain(value), indent=indent, ensure_ascii=ascii_only)
        # A lone surrogate cannot be printed; its escape is the same JSON.
        encoded = text.encode("utf-8", "backslashreplace").decode("utf-8")
        sys.stdout.write(encoded + "\n")
        sys.stdout.flush()


def make_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """A table without lines, one line per row: where room is short, the last column is cut."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns:
        justify: JustifyMethod = "right" if heading.startswith(">") else "left"
        table.add_column(heading.removeprefix(">"), justify=justify, no_wrap=heading is not columns[-1])
    for row in rows:
        cells = [cell if isinstance(cell, Text) else Text(cell) for cell in row]
        cells[-1].no_wrap, cells[-1].overflow = True, "ellipsis"
        table.add_row(*cells)
    return table


def plain(value: Any) -> Any:
    """Models as the JSON that the API speaks."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would end the process with 1, which means that a job failed


def _console(file: TextIO) -> Console:
    terminal = file.isatty()
    return _Console(file=file, force_terminal=terminal, highlight=False, width=None if terminal else _PIPE_WIDTH)
