"""How many workers a pool could use: what an autoscaler asks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from headrace.contracts.api import View
from headrace.contracts.config import JobConfig
from headrace.contracts.errors import NotFoundError
from headrace.monitor.overview import Overview
from headrace.monitor.sources import MongoSource
from headrace.monitor.views import LIVING, PoolView, WorkerView


class AutoscaleView(View):
    """What `GET /v1/autoscale/{pool}` answers.

    `backlog` counts due jobs that wait, `running` those that are claimed. `desired` is the number of worker services
    whose slots hold both; a paused pool needs only those that run what is running.
    """

    backlog: int
    running: int
    desired: int


class Autoscale:
    """Answers from the shared stores, so every replica of the monitor says the same.

    Args:
        config: `max_workers` is taken for the slots of a service while none lives.
        overview: How pools stand.
        mongo: Counts when Redis does not answer or is being rebuilt.
    """

    def __init__(self, config: JobConfig, overview: Overview, mongo: MongoSource) -> None:
        self._default_slots = config.max_workers
        self._overview = overview
        self._mongo = mongo

    async def of(self, name: str, *, slots: int | None) -> AutoscaleView:
        """The figures of one pool.

        Args:
            name: The pool.
            slots: Of one worker service; None takes what living ones have on average.

        Raises:
            NotFoundError: Nothing speaks of such a pool.
            StoreUnavailableError: Neither store answers.
        """
        view = (await self._overview.picture()).view
        pool = next((pool for pool in view.pools if pool.name == name), None)
        if pool is None:
            raise NotFoundError("there is no such pool")
        if pool.waiting is None or not pool.complete:
            depths = await self._mongo.depths(name)
            backlog, running = sum(depths.waiting.values()), depths.in_flight
        else:
            backlog, running = sum(pool.waiting.values()), pool.in_flight or 0
        each = slots or slots_of_a_service(pool, view.workers) or self._default_slots
        wanted = running + (0 if pool.paused else backlog)
        return AutoscaleView(backlog=backlog, running=running, desired=math.ceil(wanted / each))


def slots_of_a_service(pool: PoolView, workers: Sequence[WorkerView]) -> int:
    """How many slots the living services of a pool have on average; 0 while none lives.

    A service's slots are its own, whichever of its pools they serve at the moment: they move to where the work is.
    """
    living = [worker.slots for worker in workers if pool.name in worker.pools and worker.state in LIVING]
    return round(sum(living) / len(living)) if living else 0
