"""What must hold: looked at with every write, and once more when everything is quiet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.contracts.states import TERMINAL, TRANSITIONS, JobState, Reason
from headrace.recovery.once import _check
from headrace.recovery.parts import open_parts

from .expressions import Document, to_ms

if TYPE_CHECKING:
    from .clients import Submission
    from .simulation import Simulation

PENDING = ("queued", "processing")
OVER = tuple(state.value for state in TERMINAL)
_KEPT_FOR_EVER = ("state", "result", "attempt", "log", "error", "failures", "crashes", "finished_at")


class Watch:
    """The invariants of one schedule."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.violations: list[str] = []
        self._pending = 0
        self.most_pending = 0

    def add(self, text: str) -> None:
        """Something is wrong."""
        if text not in self.violations:
            self._sim.tell(f"      {'':16} !!! {text}")
            self.violations.append(text)

    # -- with every write --------------------------------------------------------------------------------------

    def on_write(self, collection: str, before: Document | None, after: Document | None) -> None:
        """Look at one change of one document."""
        if collection != "jobs":
            return
        was, is_ = before is not None and before["state"] in PENDING, after is not None and after["state"] in PENDING
        self._pending += is_ - was
        self.most_pending = max(self.most_pending, self._pending)
        if before is None or after is None:
            if after is None:
                self.add(f"I1: {before and before['_id']} was deleted")
            return
        name = after["_id"]
        if before["state"] in OVER:
            for field in _KEPT_FOR_EVER:
                if before.get(field) != after.get(field):
                    self.add(f"I2: {field} of {name} changed after its end")
        grown = len(after["log"]) - len(before["log"])
        if (grown != 0) != (before["state"] != after["state"]) or grown not in (0, 1):
            self.add(f"I2: the log of {name} does not tell its change from {before['state']} to {after['state']}")
            return
        rise = after["attempt"] - before["attempt"]
        is_claim = grown == 1 and after["log"][-1]["to"] == "processing"
        if rise != int(is_claim):
            self.add(f"I3: the attempt of {name} went from {before['attempt']} to {after['attempt']}")
        if before["state"] == "processing" and grown == 0 and before.get("owner") != after.get("owner"):
            self.add(f"I3: {name} changed its owner while it was processed")
        if grown and before.get("cancel_requested_at") and after["state"] != "cancelled":
            self.add(f"I9: {name} became {after['state']} after its cancel was accepted")

    # -- in the end --------------------------------------------------------------------------------------------

    def unrest(self) -> str:
        """What is not over yet; empty when everything is quiet."""
        sim = self._sim
        if sim.loop.has_frozen or sim.network.late:
            return "somebody is stopped, or something is on its way"
        jobs = sim.mongo.collection("jobs").all.values()
        for job in jobs:
            if job["state"] in PENDING and not self._waits_for_long(job):
                return f"{job['_id']} is {job['state']}"
            if job["state"] == "queued" and not job["indexed"]:
                return f"{job['_id']} has not been pushed"
        waiting = {job["_id"] for job in jobs if job["state"] in PENDING}
        found = self.held_ids()
        if sorted(found) != sorted(waiting):
            return f"Redis holds {found}, pending are {sorted(waiting)}"
        if not sim.is_complete():
            return "Redis is not complete"
        reserved = sim.redis.values.get(sim.keys.reserved)
        return f"places are left: {reserved}" if reserved else ""

    def held_ids(self) -> list[str]:
        """The ids that wait or are in flight in Redis, each as often as it is there."""
        values, keys = self._sim.redis.values, self._sim.keys
        return [job_id for key in (keys.ready, keys.delayed, keys.inflight) for job_id in values.get(key, ())]

    def _waits_for_long(self, job: Document) -> bool:
        return job["state"] == "queued" and to_ms(job["run_at"]) > (self._sim.wall_seconds() + 10_000) * 1000

    async def judge(self) -> None:
        """Look at everything once more."""
        sim = self._sim
        for job in sim.mongo.collection("jobs").all.values():
            self._judge_log(job)
            self._judge_counts(job)
            self._judge_takers(job)
        self._judge_submissions()
        self._judge_effects()
        self._judge_bound()
        for text in sim.unexpected:
            self.add(f"unexpected: {text}")
        for context in sim.loop.errors:
            error = context.get("exception")
            if type(error).__name__ not in ("ProcessEnded", "NoneType"):
                self.add(f"nobody caught {error!r}: {context.get('message')}")
        await self._judge_drift()

    def _judge_log(self, job: Document) -> None:
        """I2, I3: the log is dense, each step is legal, claims alone raise the attempt, one end at most, the last."""
        name, attempt, state = job["_id"], 0, None
        for number, entry in enumerate(job["log"]):
            if entry["seq"] != number or entry["from"] != state:
                self.add(f"I2: entry {number} of {name} does not follow the one before")
            step = (None if entry["from"] is None else JobState(entry["from"]), JobState(entry["to"]))
            if Reason(entry["reason"]) not in TRANSITIONS.get(step, frozenset()):
                self.add(f"I2: {name} went from {entry['from']} to {entry['to']} as {entry['reason']}")
            attempt += entry["to"] == "processing"
            if entry["attempt"] != attempt:
                self.add(f"I3: entry {number} of {name} has attempt {entry['attempt']}, not {attempt}")
            state = entry["to"]
        if state != job["state"] or attempt != job["attempt"]:
            self.add(f"I2: {name} is {job['state']} at {job['attempt']}, its log says {state} at {attempt}")
        if sum(entry["to"] in OVER for entry in job["log"]) > 1:
            self.add(f"I2: {name} ended twice")

    def _judge_counts(self, job: Document) -> None:
        """I10: failures and crashes stay within their limits; innocent starts cost neither."""
        name, log = job["_id"], job["log"]
        failures = sum(entry["reason"] in ("retry", "failed", "timeout") for entry in log)
        if job["failures"] != failures or job["failures"] > job["max_retries"] + 1:
            self.add(f"I10: {name} counts {job['failures']} failures, its log {failures} of {job['max_retries'] + 1}")
        if job["crashes"] > self._sim.config.max_crashes:
            self.add(f"I10: {name} counts {job['crashes']} crashes")
        last, is_most = log[-1]["reason"], job["crashes"] == self._sim.config.max_crashes
        if (last == "crash_loop" and not is_most) or (is_most and last not in ("crash_loop", "cancelled")):
            self.add(f"I10: {name} has {job['crashes']} crashes and ended as {last}")

    def _judge_submissions(self) -> None:
        """I1, I5, I9, I12: what clients were told came true."""
        jobs = self._sim.mongo.collection("jobs").all
        asked = {item.key: item for item in self._sim.plan.submissions if item.key}
        explained = {item.job_id for item in self._sim.plan.submissions}
        unkeyed = sum(item.key is None and item.status == "unknown" for item in self._sim.plan.submissions)
        keys: list[str] = []
        for job in jobs.values():
            key = (job.get("idempotency") or {}).get("key")
            if key is not None:
                keys.append(key)
                if asked[key].status == "refused":
                    self.add(f"I5: {job['_id']} exists although {asked[key].name} was refused")
            elif job["_id"] not in explained:
                unkeyed -= 1
        if len(set(keys)) != len(keys):
            self.add(f"I5: two jobs have one key: {sorted(keys)}")
        if unkeyed < 0:
            self.add("I5: there is a job that nobody submitted, or that was refused")
        for item in self._sim.plan.submissions:
            self._judge_submission(item, jobs.get(item.job_id or ""))

    def _judge_submission(self, item: Submission, job: Document | None) -> None:
        if item.status == "ok" and job is None:
            self.add(f"I1: {item.name} was accepted as {item.job_id} and is lost")
        if item.missing_reads:
            self.add(f"I12: {item.name} was not found after it was accepted")
        if sorted(item.reads) != item.reads:
            self.add(f"I12: {item.name} was read as {item.reads}")
        if job is None:
            return
        if item.cancelled in ("cancelled", "requested") and job["state"] != "cancelled":
            self.add(f"I9: {item.name} is {job['state']} although its cancel was answered {item.cancelled}")
        if item.cancelled == "over" and job["state"] == "cancelled":
            self.add(f"I9: {item.name} is cancelled although it was said to be over")

    def _judge_effects(self) -> None:
        """I4, I5: each attempt was started at most once, by the child that claimed it, of a job that exists."""
        jobs = self._sim.mongo.collection("jobs").all
        started: dict[tuple[str, int], str] = {}
        for effect in self._sim.effects:
            if effect.phase != "start":
                continue
            name = (effect.job_id, effect.attempt)
            if name in started:
                self.add(f"I4: attempt {effect.attempt} of {effect.job_id} was started twice")
            started[name] = effect.actor
            job = jobs.get(effect.job_id)
            claims = [] if job is None else [e for e in job["log"] if e["to"] == "processing"]
            owners = [entry["owner"] for entry in claims if entry["attempt"] == effect.attempt]
            if owners != [self._sim.children[effect.actor][0].incarnation]:
                self.add(f"I4: {effect.actor} started attempt {effect.attempt} of {effect.job_id}, claimed by {owners}")
        for job in jobs.values():
            for entry in job["log"]:
                name = (job["_id"], entry["attempt"])
                if entry["reason"] in ("completed", "retry", "failed", "timeout") and name not in started:
                    self.add(f"I4: attempt {entry['attempt']} of {job['_id']} is {entry['reason']} and never started")

    def _judge_takers(self, job: Document) -> None:
        """I3: recovery takes jobs from the dead alone, and how an attempt went is told by its own child."""
        workers = self._sim.mongo.collection("workers").all
        for entry in job["log"]:
            if entry["reason"] in ("completed", "retry", "failed") and entry["by"] != entry["owner"]:
                self.add(f"I3: attempt {entry['attempt']} of {job['_id']} was ended by another child")
            if entry["reason"] in ("orphaned", "host_lost", "crash_loop"):
                owner = workers.get(entry["owner"])
                if owner is not None and owner["dead_at"] is None:
                    self.add(f"I3: attempt {entry['attempt']} of {job['_id']} was taken from a living worker")

    def _judge_bound(self) -> None:
        """I7: exact while Redis was complete all the time."""
        plan = self._sim.plan
        losses = any(event.what.partition(" ")[0] in ("flush", "restart", "redis") for event in plan.events)
        weather = plan.weather
        if plan.begins_complete and not losses and not weather.refused and not weather.lost and not weather.slow:
            allowed = plan.bound
            if self.most_pending > allowed and not weather.unanswered:
                self.add(f"I7: {self.most_pending} jobs were pending, the bound is {allowed}")

    async def _judge_drift(self) -> None:
        """I6: recovery itself finds nothing to do any more."""
        sim = self._sim
        if self.violations:
            return
        if sim.plan.is_calm and sim.missing:
            self.add(f"I6: nothing but Redis' data was lost, and {sim.missing} ids were missing after the rebuild")
        report: Any = await _check(open_parts(self._sim.config))
        if not report.is_clean:
            self.add(f"I6: the comparison finds {report}")
        for job in self._sim.mongo.collection("jobs").all.values():
            if job["state"] not in PENDING and not job.get("finished_at"):
                self.add(f"I2: {job['_id']} ended at no time")
