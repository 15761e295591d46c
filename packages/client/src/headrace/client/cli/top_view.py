"""What `headrace top` draws."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.text import Text

from headrace.client.cli.output import make_table
from headrace.client.cli.pools import COLUMNS, pool_rows
from headrace.client.cli.words import age, bar, clean, span, spark
from headrace.contracts.api import BreakerView, DeadLetterGroup, JobSummary, PoolView

_REMEMBERED = 40
_GROUPS = 5


@dataclass(frozen=True)
class Picture:
    """One look at the system."""

    at: datetime
    pools: list[PoolView]
    running: list[JobSummary]
    groups: list[DeadLetterGroup]
    breakers: list[BreakerView]


class Screen:
    """The last look, and how speed and backlog went before it."""

    def __init__(self, url: str, interval: float) -> None:
        self._url = url
        self._interval = interval
        self._lost = ""
        self._speed: deque[float] = deque(maxlen=_REMEMBERED)
        self._backlog: deque[float] = deque(maxlen=_REMEMBERED)
        self.picture = Picture(datetime.now(UTC), [], [], [], [])

    def take(self, picture: Picture) -> None:
        """Take a new look."""
        self.picture, self._lost = picture, ""
        self._speed.append(sum(pool.throughput_per_second or 0.0 for pool in picture.pools))
        self._backlog.append(float(sum(_waiting(pool) for pool in picture.pools)))

    def is_lost(self, why: str) -> None:
        """The last look failed; what is shown is old."""
        self._lost = why

    def render(self, height: int, *, live: bool = True) -> RenderableType:
        """The screen, in so many lines."""
        picture = self.picture
        parts: list[RenderableType] = [self._head(live), Text(), make_table(COLUMNS, pool_rows(picture.pools))]
        if len(self._speed) > 1:
            speed, backlog = list(self._speed), list(self._backlog)
            parts.append(Text(f"\njobs/s  {spark(speed)} {speed[-1]:.1f}\nwaiting {spark(backlog)} {backlog[-1]:.0f}"))
        if picture.breakers:
            names = ", ".join(f"{clean(b.name)} (tries again in {span(b.retry_in_seconds)})" for b in picture.breakers)
            parts.append(Text(f"\nopen breakers: {names}", style="red"))
        below = [*self._dead()]
        used = 6 + len(picture.pools) + (3 if len(self._speed) > 1 else 0) + len(picture.groups[:_GROUPS]) + 3
        parts += [Text(), *self._running(max(3, height - used - 3)), *below]
        return Group(*parts)

    def _head(self, live: bool) -> Text:
        head = Text.assemble(("headrace top", "bold"), f"  {clean(self._url)}  {self.picture.at:%H:%M:%S}Z")
        if self._lost:
            head.append(f"  old, trying again: {clean(self._lost, one_line=True, limit=80)}", style="bold red")
        elif live:
            head.append(f"  every {self._interval:g} s, q ends", style="dim")
        return head

    def _running(self, rows: int) -> list[RenderableType]:
        jobs = self.picture.running
        if not jobs:
            return [Text("nothing runs", style="dim")]
        shown = make_table(
            ("job", "type", ">attempt", "since", "progress"),
            [
                (job.id, clean(job.type), str(job.attempt), age(job.started_at or job.claimed_at), _progress(job))
                for job in jobs[:rows]
            ],
        )
        more = [Text(f"and {len(jobs) - rows} more or so", style="dim")] if len(jobs) > rows else []
        return [shown, *more]

    def _dead(self) -> list[RenderableType]:
        groups = self.picture.groups
        if not groups:
            return []
        total = sum(group.count for group in groups)
        table = make_table(
            (">count", "type", "last", "message"),
            [
                (str(g.count), clean(g.type), age(g.last_at), clean(g.sample_message, one_line=True, limit=70))
                for g in groups[:_GROUPS]
            ],
        )
        return [Text(f"\ndead letters: {total}", style="bold"), table]


def _waiting(pool: PoolView) -> int:
    return pool.waiting.high + pool.waiting.medium + pool.waiting.low


def _progress(job: JobSummary) -> str:
    if job.progress is None:
        return ""
    message = clean(job.progress.message, one_line=True, limit=40)
    return f"{bar(job.progress.fraction)} {job.progress.fraction:4.0%} {message}"
