"""What happened to jobs in a stretch of time, counted by MongoDB from the jobs' own transition logs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from headrace.contracts.states import JobState, Reason
from headrace.runtime.store.database import MOVED, Database
from headrace.runtime.store.faults import reading
from headrace.runtime.store.history_values import BUCKETS_PER_DOUBLING
from headrace.runtime.store.reads import in_states

SCAN_SECONDS = 5.0
MAX_JOBS = 50_000
"""Jobs that are looked at for one stretch. In one that changed more of them, the rest is not counted."""

_COUNT_OF = {
    Reason.SUBMITTED: "submitted",
    Reason.CLAIMED: "claimed",
    Reason.COMPLETED: "completed",
    Reason.CANCELLED: "cancelled",
    Reason.RETRY: "retried",
    Reason.RELEASED: "handed_back",
    Reason.ORPHANED: "handed_back",
    Reason.HOST_LOST: "handed_back",
    Reason.FAILED: "failed",
    Reason.CRASH_LOOP: "failed",
    Reason.EXPIRED: "failed",
}


@dataclass
class Activity:
    """What happened to the jobs of one type in one pool; as in `Sample`."""

    counts: dict[str, int] = field(default_factory=dict)
    wait: dict[int, int] = field(default_factory=dict)
    run: dict[int, int] = field(default_factory=dict)


class HistoryReads:
    """Reads of the jobs' transitions."""

    def __init__(self, database: Database) -> None:
        self._jobs: Any = database.jobs

    async def activity(self, since: datetime, until: datetime) -> dict[tuple[str, str], Activity]:
        """Transitions at or after `since` and before `until` by MongoDB's clock, by (pool, type).

        Exact once every write of the stretch is visible, which `until` should allow a few seconds for; but a job whose
        document is gone by then, and submissions timed by the clock of Redis where that lags, are missed.
        """
        stages = [
            # No upper bound: a job that has changed since then had its transitions in the stretch none the less. One
            # part for each index; no transition of a completed job is younger than its end.
            {
                "$match": {
                    "$or": [
                        {"updated_at": {"$gte": since}, **MOVED},
                        {"updated_at": {"$gte": since}, **in_states([JobState.PROCESSING])},
                        {"finished_at": {"$gte": since}, **in_states([JobState.COMPLETED])},
                    ]
                }
            },
            {"$limit": MAX_JOBS},
            {"$project": {"pool": 1, "type": 1, "facts": _facts(since, until)}},
            {"$unwind": "$facts"},
            {
                "$group": {
                    "_id": {"pool": "$pool", "type": "$type", "what": "$facts.what", "bucket": "$facts.bucket"},
                    "count": {"$sum": 1},
                }
            },
        ]
        found: dict[tuple[str, str], Activity] = {}
        with reading("activity", seconds=SCAN_SECONDS):
            async for document in self._jobs.aggregate(stages):
                key = document["_id"]
                _add(found.setdefault((key["pool"], key["type"]), Activity()), key, document["count"])
        return found


def _add(activity: Activity, key: dict[str, Any], count: int) -> None:
    what = key["what"]
    if what in {"wait", "run"}:
        getattr(activity, what)[int(key["bucket"])] = count
    else:
        activity.counts[what] = activity.counts.get(what, 0) + count


def _facts(since: datetime, until: datetime) -> dict[str, Any]:
    def within(field_: str) -> dict[str, Any]:
        return {"$and": [{"$gte": [field_, since]}, {"$lt": [field_, until]}]}

    steps = {
        "$map": {
            "input": {"$filter": {"input": "$log", "as": "step", "cond": within("$$step.at")}},
            "as": "step",
            "in": {"what": _name_of("$$step")},
        }
    }
    # A job that went back has another due time by now, so only claims that still count tell how long they waited.
    due = {"$max": ["$run_at", "$created_at"]}
    waited = {"$and": [within("$claimed_at"), {"$ne": ["$state", "queued"]}]}
    ran = {"$and": [within("$finished_at"), {"$gt": ["$started_at", None]}]}
    return {
        "$concatArrays": [
            steps,
            {"$cond": [waited, [_duration("wait", due, "$claimed_at")], []]},
            {"$cond": [ran, [_duration("run", "$started_at", "$finished_at")], []]},
        ]
    }


def _name_of(step: str) -> dict[str, Any]:
    branches = [{"case": {"$eq": [f"{step}.reason", reason.value]}, "then": name} for reason, name in _COUNT_OF.items()]
    # Over its time: the last attempt fails the job, an earlier one is followed by another.
    timed_out = {"$cond": [{"$eq": [f"{step}.to", "failed"]}, "failed", "retried"]}
    return {"$switch": {"branches": branches, "default": timed_out}}


def _duration(what: str, begin: Any, end: Any) -> dict[str, Any]:
    ms = {"$max": [1, {"$subtract": [end, begin]}]}
    bucket = {"$toInt": {"$floor": {"$multiply": [BUCKETS_PER_DOUBLING, {"$log": [ms, 2]}]}}}
    return {"what": what, "bucket": bucket}


LAG = timedelta(seconds=2)
"""How long after a moment its writes are taken to be visible."""
