"""Server-sent events: what a stream's bytes say."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from headrace.contracts.api import JobEventView
from headrace.contracts.errors import ApiError

MAX_LINE_CHARACTERS = 1024 * 1024
_PIECES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # str.splitlines would cut at U+2028 too
SNAPSHOT = "job.snapshot"
GAP = "job.gap"


@dataclass(frozen=True)
class Event:
    """Something that happened to a job. A hint: the job's own view is the truth.

    Attributes:
        name: `job.snapshot` (how it stands), `job.queued`, `job.started`, `job.progress`, `job.retrying`,
            `job.completed`, `job.failed`, `job.cancelled`, or `job.gap` (some were lost). A newer server may have more.
        job: The job then; None for `job.gap`.
        resume_at: The `Last-Event-ID` with which a stream goes on behind this event; None before the first one.
    """

    name: str
    job: JobEventView | None
    resume_at: str | None = None

    @property
    def is_end(self) -> bool:
        """Whether nothing can follow for this job. A snapshot of a job that is over is not its end yet."""
        return self.name != SNAPSHOT and self.job is not None and self.job.state.is_terminal


class EventParser:
    """Turns the bytes of one `text/event-stream`, however they are cut, into events."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._line: list[str] = []
        self._length = 0
        self._after_cr = False
        self._name = ""
        self._data: list[str] = []
        self._place: str | None = None

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that are complete now.

        Raises:
            ApiError: A line is longer than a mebibyte, or the data of an event is not what the API promises.
        """
        for text in _PIECES.findall(self._decode(chunk)):
            if self._after_cr and text == "\n":
                self._after_cr = False
                continue
            self._after_cr = text.endswith("\r")
            ended = text.endswith(("\r", "\n"))
            self._length += len(text)
            if self._length > MAX_LINE_CHARACTERS:
                raise ApiError("the event stream holds a line of more than a mebibyte")
            self._line.append(text)
            if ended:
                line = "".join(self._line).rstrip("\r\n")
                self._line, self._length = [], 0
                yield from self._take(line)

    def _take(self, line: str) -> Iterator[Event]:
        if line:
            name, _, value = line.partition(":")
            self._field(name, value.removeprefix(" "))
            return
        if self._data:
            yield _event(self._name or "message", "\n".join(self._data), self._place)
        self._name, self._data = "", []

    def _field(self, name: str, value: str) -> None:
        # An empty name is a comment, which keeps the connection alive.
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._place = value or None


def _event(name: str, data: str, place: str | None) -> Event:
    if name == GAP:
        return Event(name, None, place)
    try:
        return Event(name, JobEventView.model_validate(json.loads(data), extra="ignore"), place)
    except (ValueError, ValidationError):
        raise ApiError(f"the event stream holds a {name!r} that is no event of a job") from None
