"""How far the demo's job is: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from headrace.contracts.api import JobView
from headrace.local.foreground import say

_SECONDS_BETWEEN_LINES = 1.0


class ProgressLine:
    """Shows the progress that a job reports; `show` it as often as you like."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = ""
        self._shown_at = 0.0
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                BarColumn(),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.description}", markup=False),
                console=console,
            )
            self._task = self._bar.add_task("waiting for a worker", total=1.0)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, job: JobView) -> None:
        """Show where the job stands now."""
        fraction, text = (job.progress.fraction, job.progress.message) if job.progress else (0.0, str(job.state))
        if job.state.is_terminal:
            fraction, text = 1.0, str(job.state)
        if self._bar is not None:
            self._bar.update(self._task, completed=fraction, description=text)
            return
        line = f"  {fraction:4.0%}  {text}"
        now = time.monotonic()
        due = job.state.is_terminal or now - self._shown_at >= _SECONDS_BETWEEN_LINES
        if line != self._shown and due:
            say(self._console, line)
            self._shown, self._shown_at = line, now
