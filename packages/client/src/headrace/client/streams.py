"""The part of the client that listens."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from headrace.client.calls import Calls, path_of, query_of
from headrace.client.events import Event
from headrace.client.follow import follow_stream


class StreamCalls(Calls):
    """Follow one job or all of them.

    Both are async generators: leave them with `break` inside `async with contextlib.aclosing(...)` to give the
    connection back at once.
    """

    def follow(self, job_id: str, *, resume_at: str | None = None) -> AsyncGenerator[Event, None]:
        """What happens to the job, from how it stands now to its end; the last event tells how it ended.

        A lost connection is opened again where it was, within the client's `patience_seconds`. What is lost then is
        told as `job.gap`, followed by how the job stands. Not every report of progress becomes an event.

        Args:
            job_id: The job.
            resume_at: Begin behind this event, whose `resume_at` it is; a job's first event is a snapshot all the same.

        Raises:
            NotFoundError: There is no such job, or not for this token.
        """
        return follow_stream(
            self._transport,
            path_of("jobs", job_id, "events"),
            query={},
            resume_at=resume_at,
            patience_seconds=self._patience_seconds,
            has_end=True,
        )

    def events(
        self, *, type: str | None = None, pool: str | None = None, resume_at: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """What happens to all jobs that the token may see, without an end.

        Args:
            type: Of this job type only.
            pool: Of this pool only.
            resume_at: Begin behind this event; without it with what happens from now on.
        """
        return follow_stream(
            self._transport,
            "/v1/events",
            query=query_of({"type": type, "pool": pool}),
            resume_at=resume_at,
            patience_seconds=self._patience_seconds,
            has_end=False,
        )
