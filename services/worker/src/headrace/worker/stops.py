"""How a job ends that was told to stop, or that ran for too long."""

from __future__ import annotations

from headrace.runtime.store.values import Settlement
from headrace.worker import outcome
from headrace.worker.held import Held, Stop


def settlement_of_stop(held: Held) -> Settlement | None:
    """What is written for a job that was told to stop; None: nothing, its attempt does not count any more."""
    if held.stop is Stop.CANCEL:
        return outcome.cancelled(held.job, started_ms_ago=held.started_ms_ago())
    if held.stop is Stop.RELEASE:
        return outcome.released(held.job, started_ms_ago=held.started_ms_ago())
    return None


def timeout_of(held: Held) -> outcome.JobTimeout:
    """The error of a job that ran longer than its limit."""
    return outcome.JobTimeout(f"ran longer than {held.job.timeout_seconds:g} s")
