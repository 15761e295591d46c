"""Keeps account of every process of a run: who ran, who ended, and whose deed that was."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import psutil
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from headrace.worker.child import SPEC_VARIABLE

from .history import Process
from .parts import Child, Part
from .recorder import Recorder
from .replica_set import ReplicaSet

LOOK_S = 0.1


class Accounts:
    """What became of the services and their children, and the failpoints that were armed for them.

    Args:
        folder: Of the run.
        recorder: Where ends are written down.
        replica_set: Holds what supervisors noted about their children's ends.
        database: Of the run.
    """

    def __init__(self, *, folder: Path, recorder: Recorder, replica_set: ReplicaSet, database: str) -> None:
        self.folder = folder
        self.recorder = recorder
        self.clock = recorder.clock
        self.replica_set = replica_set
        self.database = database
        self.parts: dict[str, Part] = {}
        self.children: dict[int, Child] = {}
        self.blamed: dict[int, str] = {}
        """Process → the fault that is to end it."""
        self.armed: dict[tuple[str, str], str] = {}
        """Failpoint and what it is to do → the fault that armed it."""
        self.stopping_at = float("inf")
        """When everything was told to stop."""

    def of_role(self, role: str) -> list[Part]:
        """All services of a role."""
        return [part for part in self.parts.values() if part.role == role]

    async def note_leftovers(self) -> None:
        deadline = self.clock.now() + 3
        while any(_exists(child.pid) for child in self.children.values()) and self.clock.now() < deadline:
            await asyncio.sleep(LOOK_S)
        self.see_children()
        exits = await asyncio.to_thread(self._exits)
        for child in self.children.values():
            left = _exists(child.pid)
            self._note_child(child, code=exits.get(child.incarnation), left=left)
            if left:
                self.signal(child.pid, signal.SIGKILL)
        for part in self.parts.values():
            if part.process is not None:
                part.process.kill()

    def _exits(self) -> dict[str, int]:
        """How children ended, as their supervisors wrote it: incarnation → exit code, negative for a signal."""
        found = {}
        try:
            client: MongoClient[dict[str, Any]]
            with MongoClient(self.replica_set.url, serverSelectionTimeoutMS=5000) as client:
                workers: list[dict[str, Any]] = list(client[self.database].workers.find({"exit": {"$ne": None}}))
                for worker in workers:
                    how = worker["exit"]
                    found[worker["_id"]] = -how["signal"] if how.get("signal") else how.get("code")
        except PyMongoError:
            return {}  # no primary at the end: the run says so where it reads the jobs
        return {incarnation: code for incarnation, code in found.items() if code is not None}

    def note_end(self, part: Part, *, by: str | None = None) -> None:
        if part.process is None:
            return
        code = part.process.exit_code
        self.recorder.add(
            "process",
            Process(
                name=part.name,
                role=part.role,
                pid=part.process.pid,
                started=part.started,
                ended=self.clock.now() if code is not None else None,
                exit_code=code,
                ended_by=self._culprit(part.process.pid) or by,
                alive_after=code is None,
            ),
        )
        if code is not None:
            part.process = None

    def see_children(self) -> None:
        for part in self.of_role("worker"):
            if not part.runs:
                continue
            with contextlib.suppress(psutil.Error):
                for process in psutil.Process(part.pid).children():
                    if process.pid not in self.children:
                        self._see_child(part, process)
        for child in self.children.values():
            if child.ended is None and not _exists(child.pid):
                child.ended = self.clock.now()

    def _see_child(self, part: Part, process: psutil.Process) -> None:
        try:
            spec = json.loads(process.environ().get(SPEC_VARIABLE, "{}"))
        except (psutil.Error, OSError):
            return
        if "incarnation" in spec:
            self.children[process.pid] = Child(part.name, process.pid, spec["incarnation"], self.clock.now())

    def _note_child(self, child: Child, *, code: int | None, left: bool) -> None:
        self.recorder.add(
            "process",
            Process(
                name=f"{child.part}/child",
                role="child",
                pid=child.pid,
                started=child.started,
                ended=child.ended,
                exit_code=code,
                ended_by=self._culprit(child.pid) or ("stop" if self._stopped_with(child) else None),
                alive_after=left,
            ),
        )

    def _stopped_with(self, child: Child) -> bool:
        """Whether it ended as its service was stopped at the run's end, and not by itself before."""
        return child.ended is not None and child.ended >= self.stopping_at

    def _culprit(self, pid: int) -> str | None:
        """The fault that ended a process: by a signal, or by a failpoint that it passed."""
        for file in (self.folder / "failpoints").glob(f"*/*.{pid}.*.fired"):
            action = file.read_text()
            name = file.name.split(f".{pid}.")[0]
            if action.startswith("exit137") and (name, action) in self.armed:
                return self.armed[name, action]
        return self.blamed.get(pid)

    def living_children(self, name: str) -> list[Child]:
        """The children of a worker that run."""
        self.see_children()
        return [child for child in self.children.values() if child.part == name and child.ended is None]

    def part_of(self, pid: int) -> str:
        """The service that a process belongs to, or belonged to."""
        if pid in self.children:
            return self.children[pid].part
        return next((part.name for part in self.parts.values() if pid in part.pids), "")

    def incarnations(self, pids: list[int]) -> tuple[str, ...]:
        """Of the children among these processes."""
        return tuple(self.children[pid].incarnation for pid in pids if pid in self.children)

    @staticmethod
    def signal(pid: int, number: signal.Signals) -> bool:
        """Send one of our own processes a signal. False: it is gone."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    # -- failpoints ----------------------------------------------------------------------------------------------

    def _failpoints(self, role: str) -> Path:
        """Where the failpoints of a role are armed; who of the role comes there first takes one."""
        return self.folder / "failpoints" / role

    def arm(self, role: str, name: str, action: str, fault: str) -> None:
        """Let the next process of a role that passes a failpoint do something there."""
        self.armed[name, action] = fault
        folder = self._failpoints(role)
        draft = folder / f".{name}"
        draft.write_text(action)
        draft.rename(folder / name)

    def fired(self, role: str, name: str, action: str) -> tuple[int, float] | None:
        """Who passed an armed failpoint, and when on the run's clock; None: nobody yet."""
        for file in self._failpoints(role).glob(f"{name}.*.fired"):
            if file.read_text() == action:
                pid, nanoseconds, _ = file.name.removeprefix(f"{name}.").split(".")
                return int(pid), self.clock.of_monotonic(int(nanoseconds) / 1e9)
        return None


def _exists(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
