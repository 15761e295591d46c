"""How far something is: a bar that moves on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

_SECONDS_BETWEEN_LINES = 1.0


class ProgressView:
    """How far one job is; `show` it as often as you like.

    Args:
        console: Where a bar moves, if it is a terminal.
        say: Prints a line where it is none; None: nothing is said there.
    """

    def __init__(self, console: Console, say: Callable[[str], None] | None) -> None:
        self._say = say
        self._shown, self._shown_at = "", 0.0
        self._bar = make_bar(console) if console.is_terminal else None
        self._task = self._bar.add_task("", total=1.0) if self._bar is not None else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, fraction: float | None, words: str, *, is_due: bool = False) -> None:
        """Show where it stands.

        Args:
            fraction: From 0 to 1; None leaves a bar where it is.
            words: What it does, for one line.
            is_due: Say it even if the last line was said a moment ago.
        """
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=words[:60], completed=fraction)
            return
        line = f"{'' if fraction is None else f'{fraction:.0%}':>5}  {words}"
        now = time.monotonic()
        if self._say is None or line == self._shown:
            return
        if is_due or now - self._shown_at >= _SECONDS_BETWEEN_LINES:
            self._say(line)
            self._shown, self._shown_at = line, now


def make_bar(console: Console, *, unit: str | None = None) -> Progress:
    """A bar for a terminal; with a unit it counts."""
    counted = TextColumn("{task.completed:.0f} of {task.total:.0f} " + unit) if unit else TaskProgressColumn()
    return Progress(
        SpinnerColumn(),
        BarColumn(),
        counted,
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
    )
