"""What is true of a test's jobs: by MongoDB's documents and by what their runs left behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from whole import assert_sound_log

from headrace.client import Client
from headrace.client.submission import Submission
from headrace.contracts.api import JobView
from headrace.testing.eventually import eventually
from headrace.testing.executors import read_effects

from .node import Node
from .system import System

END_SECONDS = 120
"""Generous: what is promised in seconds is asserted where it is promised."""


class Jobs:
    """The jobs of one test: they note each start and end of a run in a file that outlives their worker."""

    def __init__(self, system: System) -> None:
        self.tag = uuid4().hex[:8]
        self.ids: list[str] = []
        self._system = system
        self._file, self._inside = system.effects(self.tag)

    async def add(self, client: Client, count: int, *, seconds: float = 0.05, **more: Any) -> list[str]:
        """Let so many be accepted; each sleeps. Fails when one is refused."""
        answers = await client.submit_many(self.sleep(seconds, **more) for _ in range(count))
        ids = [answer.id for answer in answers if isinstance(answer, JobView)]
        assert len(ids) == count, [answer for answer in answers if not isinstance(answer, JobView)][:1]
        self.ids += ids
        return ids

    def sleep(self, seconds: float = 0.05, **more: Any) -> Submission:
        """A submission of this test's."""
        payload = {"seconds": seconds, "effects": self._inside, "result": self.tag}
        return Submission(type="test.sleep", payload=payload, tags={"test": self.tag}, **more)

    def documents(self, ids: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
        """Id → document, as a majority holds it."""
        wanted = list(self.ids if ids is None else ids)
        with self._system.database() as database:
            return {found["_id"]: found for found in database.jobs.find({"_id": {"$in": wanted}})}

    def phases(self) -> Counter[tuple[str, int, str]]:
        """(job id, attempt, `start` or `end`) → how often."""
        return Counter((job, attempt, phase) for job, attempt, _, phase in read_effects(Path(self._file)))

    def starts(self, job_id: str) -> int:
        """How often a job was started."""
        return sum(count for (job, _, phase), count in self.phases().items() if (job, phase) == (job_id, "start"))

    async def until_running(self, ids: Sequence[str], count: int = 1, *, on: Node | None = None) -> list[str]:
        """Wait until so many of them run (in this container); returns which."""

        def running() -> list[str]:
            found = [
                job_id for job_id, document in self.documents(ids).items()
                if document["state"] == "processing" and (on is None or document["owner"] in self._system.children(on))
                and self.phases()[job_id, document["attempt"], "start"]
            ]  # fmt: skip
            return found if len(found) >= count else []

        return await eventually(running, within=END_SECONDS, every=0.2, what=f"{count} jobs run")

    async def all_ended(self, *, within: float = END_SECONDS, state: str = "completed") -> dict[str, dict[str, Any]]:
        """Wait until each has ended in `state`, and hold all of them to what is promised of every job.

        None is lost; its log is sound, with one end; no attempt was started twice; nothing was started that was not
        claimed; a completed job was started, and ran to its end under the attempt that counts.
        """

        def probe() -> bool:
            states = Counter(document["state"] for document in self.documents().values())
            assert states == {state: len(self.ids)}, states
            return True

        try:
            await eventually(probe, within=within, every=0.3, what="every job has ended")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._system.explain()}") from None
        documents, phases = self.documents(), self.phases()
        assert {job for job, _, _ in phases} <= set(self.ids)
        assert set(phases.values()) <= {1}, "an attempt ran twice"
        for job_id, document in documents.items():
            assert_sound_log(document)
            claimed = {entry["attempt"] for entry in document["log"] if entry["to"] == "processing"}
            assert {attempt for job, attempt, _ in phases if job == job_id} <= claimed, document["log"]
            if state == "completed":
                assert phases[job_id, document["attempt"], "end"] == 1, document["log"]
        return documents

    def reasons(self) -> Counter[str]:
        """How often each reason stands in the jobs' logs."""
        return Counter(entry["reason"] for document in self.documents().values() for entry in document["log"])


def last_owner(document: dict[str, Any]) -> str:
    """Who claimed the job last."""
    return str([entry["owner"] for entry in document["log"] if entry["to"] == "processing"][-1])


def first_claim(document: dict[str, Any]) -> Any:
    """When the job was claimed first."""
    return next(entry["at"] for entry in document["log"] if entry["to"] == "processing")
