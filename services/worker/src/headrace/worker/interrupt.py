"""Stopping plain functions: an exception raised in their thread, with no way to hit the wrong job.

Dramatiq's `TimeLimit` does the same, but a limit that fires while a thread goes from one job to the next hits the next
one. Here the exception is set only under the held job's lock while it runs, and `finish` swallows what arrives late.
An exception cannot end a C call that does not return; for that the supervisor has the hard limit.
"""

from __future__ import annotations

import threading

from dramatiq.threading import Interrupt, raise_thread_exception

from headrace.worker.held import Held, Phase


class SoftLimit(Interrupt):
    """The job ran longer than its `timeout_seconds`."""


class AskedToStop(Interrupt):
    """The job did not stop by itself after it was asked to."""


class _Nothing(Interrupt):
    """Takes the place of an interrupt that came too late."""


def interrupt_thread(held: Held, thread_id: int, exception: type[Interrupt]) -> bool:
    """Raise `exception` in the thread that runs the job, if it still does. Returns whether it did."""
    with held.lock:
        if held.phase is not Phase.RUNNING:
            return False
        held.interrupted = True
        raise_thread_exception(thread_id, exception)  # type: ignore[no-untyped-call]  # dramatiq leaves it untyped
        return True


def finish(held: Held) -> None:
    """End the job in its own thread; an interrupt that arrives from here on is swallowed."""
    while True:
        try:
            held.end()
            if not held.interrupted:
                return
            # Whether it has hit already cannot be asked. Another one replaces it if it has not, and hits here. Clearing
            # it (with None) would leave CPython 3.11 and 3.12 looking for it at every call of every thread from then
            # on, and for ever where a tracer is set.
            raise_thread_exception(threading.get_ident(), _Nothing)  # type: ignore[no-untyped-call]
            while True:
                pass
        except _Nothing:
            return
        except Interrupt:
            continue
