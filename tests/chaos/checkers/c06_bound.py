"""C6 (I7): a pool never holds more jobs that are not over than its bound, and a refusal for it says when to come back.

The bound is exact while Redis is complete and has every job. While it is not, each scheduler counts in MongoDB and
cannot know what the others admit at the same time: at most `overshoot` of the settings may be taken in beyond it, and
stay until it has drained. A job that is stored and could not be told to Redis is missed until the next reconcile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.history import History

from .attempts import TERMINAL_STATES
from .report import Report, Violation

UNTOLD = ("redis", "scheduler", "mongod:", "link:scheduler", "link:client", "link:recovery", "recovery")
"""Where faults, by the beginning of their target, can leave a stored job out of Redis or hold up who would add it."""
HARMLESS = frozenset({"latency"})
RECONCILE_SECONDS = 12.0
"""The continuous reconcile's promise, and what a loaded machine adds."""
CLOCK_SECONDS = 0.005
"""Redis' and MongoDB's clocks are one machine's, each in whole milliseconds."""


def check_bound(history: History) -> Report:
    """Judge every snapshot, and the exact course of the numbers that the logs give."""
    highest: defaultdict[str, int] = defaultdict(int)
    violations = list(_judge_samples(history, highest))
    exact = dict(_exact_maxima(history))
    if all(sample.complete for sample in history.pending) and not any(e.kind == "lost" for e in history.queue_events):
        violations += [
            Violation("log-over", f"by the logs pool {pool} held {exact[pool]} jobs; its bound is {bound}")
            for pool, bound in history.run.bounds.items()
            if exact.get(pool, 0) > bound
        ]
    full = [op for op in history.operations if op.outcome == "fail" and op.problem == "queue-full" and not op.batched]
    violations += [
        Violation("no-retry-after", f"operation {op.index} was refused without a usable Retry-After: {op.retry_after}")
        for op in full
        if op.retry_after is None or op.retry_after <= 0
    ]
    figures = {"snapshots": float(len(history.pending)), "refused": float(len(full))}
    for pool, bound in history.run.bounds.items():
        figures |= {
            f"bound of {pool}": bound,
            f"max in snapshots of {pool}": highest[pool],
            f"max by logs of {pool}": exact.get(pool, 0),
        }
    return Report("C6 bound", ("I7",), len(history.pending) if history.run.bounds else 0, tuple(violations), figures)


def _judge_samples(history: History, highest: defaultdict[str, int]) -> Iterator[Violation]:
    overshoot = int(history.run.settings.get("overshoot", 0))
    allowed: defaultdict[str, int] = defaultdict(int)
    told = set()
    drift = [
        (fault.at, fault.over + RECONCILE_SECONDS)
        for fault in history.fired
        if fault.target.startswith(UNTOLD) and fault.kind not in HARMLESS
    ]
    for sample in sorted(history.pending, key=lambda sample: sample.at):
        bound = history.run.bounds.get(sample.pool)
        if bound is None:
            continue
        highest[sample.pool] = max(highest[sample.pool], sample.pending)
        drifts = any(since <= sample.at <= until for since, until in drift)
        if drifts or not sample.complete:
            allowed[sample.pool] = overshoot
        if sample.pending > bound + allowed[sample.pool] and sample.pool not in told:
            told.add(sample.pool)
            says = f"pool {sample.pool} held {sample.pending} jobs at {sample.at:.2f} s; its bound is {bound}"
            yield Violation("over", says + (f" + {allowed[sample.pool]}" if allowed[sample.pool] else ""))
        elif sample.complete and not drifts and sample.pending <= bound:
            allowed[sample.pool] = 0


def _exact_maxima(history: History) -> Iterator[tuple[str, int]]:
    steps: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for document in history.documents:
        steps[document.pool].append((document.created_at, 1))
        if document.state in TERMINAL_STATES and document.log:
            steps[document.pool].append((document.log[-1].at - CLOCK_SECONDS, -1))
    for pool, changes in steps.items():
        held = most = 0
        for _, change in sorted(changes):  # ends before beginnings of the same moment
            held += change
            most = max(most, held)
        yield pool, most
