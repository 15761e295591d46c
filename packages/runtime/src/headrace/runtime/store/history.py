"""History: how full pools were and what happened in them, in three time-series collections of different grain.

==================  ==========  ========  ==================================
collection          interval    kept      written by
==================  ==========  ========  ==================================
`queue_history`     10 s        1 day     the monitor
`queue_history_5m`  5 min       2 weeks   recovery, from the one above
`queue_history_1h`  1 h         1 year    recovery, from the one above
==================  ==========  ========  ==================================

A document: `at` (begin of the interval), `meta: {pool, type}` (type null: the pool's levels), `counts: {name: n}`,
`wait` and `run: [[bucket, n], …]`, `levels` and `peaks: {name: number}`. Each collection forgets by its own age, so no
duty has to delete anything. Two writers at once may store an interval twice: reading takes one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pymongo.errors import CollectionInvalid, OperationFailure

from headrace.runtime.store.database import Database
from headrace.runtime.store.faults import reading, writing
from headrace.runtime.store.history_values import LEVELS, Levels, Sample

FINE_SECONDS, MIDDLE_SECONDS, COARSE_SECONDS = 10, 300, 3600
NAMES: Final = {FINE_SECONDS: "queue_history", MIDDLE_SECONDS: "queue_history_5m", COARSE_SECONDS: "queue_history_1h"}
KEPT_DAYS: Final = {FINE_SECONDS: 1, MIDDLE_SECONDS: 14, COARSE_SECONDS: 366}
FINER: Final = {MIDDLE_SECONDS: FINE_SECONDS, COARSE_SECONDS: MIDDLE_SECONDS}
"""What each grain is added up from."""

_EXISTS = 48
_GRANULARITY = {FINE_SECONDS: "seconds", MIDDLE_SECONDS: "minutes", COARSE_SECONDS: "hours"}


class History:
    """The three collections."""

    def __init__(self, database: Database) -> None:
        self._handle: Any = database.handle

    async def ensure(self) -> None:
        """Make the collections that are missing. Safe with many callers at once.

        Raises:
            StoreUnavailableError, OutcomeUnknownError: Call again.
        """
        for seconds, name in NAMES.items():
            with writing("history collections", seconds=20):
                try:
                    await self._handle.create_collection(
                        name,
                        timeseries={"timeField": "at", "metaField": "meta", "granularity": _GRANULARITY[seconds]},
                        expireAfterSeconds=KEPT_DAYS[seconds] * 86_400,
                    )
                except CollectionInvalid:
                    continue
                except OperationFailure as error:
                    if error.code != _EXISTS:
                        raise

    async def write(self, samples: Sequence[Sample]) -> None:
        """Add samples, all of one grain.

        Raises:
            StoreUnavailableError: Nothing was added.
            OutcomeUnknownError: They may have been; adding them again does no harm.
        """
        if samples:
            with writing("history"):
                await self._handle[NAMES[samples[0].seconds]].insert_many(
                    [_to_document(sample) for sample in samples], ordered=False
                )

    async def newest(self, seconds: int, *, not_before: datetime) -> datetime | None:
        """When the newest interval of a grain begins; None when there is none from `not_before` on."""
        with reading("history"):
            document = await self._handle[NAMES[seconds]].find_one(
                {"at": {"$gte": not_before}}, {"at": 1}, sort=[("at", -1)]
            )
        return document["at"] if document else None

    async def read(
        self, seconds: int, *, since: datetime, until: datetime, pool: str | None = None, type_: str | None = None
    ) -> list[Sample]:
        """Intervals of a grain that begin in `[since, until)`, in the order of time.

        Args:
            seconds: The grain.
            since: The first beginning.
            until: Excluded.
            pool: Only of this pool.
            type_: Only of this type: then levels are not among them.
        """
        wanted: dict[str, Any] = {"at": {"$gte": since, "$lt": until}}
        if pool is not None:
            wanted["meta.pool"] = pool
        if type_ is not None:
            wanted["meta.type"] = type_
        with reading("history"):
            cursor = self._handle[NAMES[seconds]].find(wanted, {"_id": 0}).sort("at", 1)
            found = [_to_sample(document, seconds) async for document in cursor]
        return list({(sample.at, sample.pool, sample.type): sample for sample in found}.values())


def _to_document(sample: Sample) -> dict[str, Any]:
    document: dict[str, Any] = {"at": sample.at, "meta": {"pool": sample.pool, "type": sample.type}}
    for name in ("counts", "levels", "peaks"):
        value = getattr(sample, name)
        if value:
            document[name] = dict(value) if isinstance(value, Mapping) else vars(value)
    for name in ("wait", "run"):
        buckets = getattr(sample, name)
        if buckets:
            document[name] = [[bucket, count] for bucket, count in sorted(buckets.items())]
    return document


def _to_sample(document: Mapping[str, Any], seconds: int) -> Sample:
    return Sample(
        at=document["at"],
        seconds=seconds,
        pool=document["meta"]["pool"],
        type=document["meta"].get("type"),
        counts=document.get("counts", {}),
        wait=dict(document.get("wait", ())),
        run=dict(document.get("run", ())),
        levels=_to_levels(document.get("levels")),
        peaks=_to_levels(document.get("peaks")),
    )


def _to_levels(found: Mapping[str, float] | None) -> Levels | None:
    return None if found is None else Levels(**{name: found.get(name, 0) for name in LEVELS})
