"""C7 (I8): a claim takes the first of those that are ready, and not before a thread is nearly free.

The order is Redis' own: its events as it did them. Within a priority the place is the creation time, so a job that
waits again goes back to where it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby

from tests.chaos.history import History, QueueEvent

from headrace.contracts.job import SCORE_STEP

from .attempts import Attempt, all_attempts, is_disturbed
from .report import Report, Violation

LYING = frozenset({"lie", "old-copy"})
"""Faults after which Redis may say anything until it has been mended."""
STALE_FACTOR = 5
STALE_SECONDS = 0.2
"""A claimed job that has not started for max(5 x horizon, 0.2 s) is handed back."""


def check_priority(history: History) -> Report:
    """Replay the index, and compare claims with starts."""
    inversions = list(_inversions(history.queue_events))
    attempts = all_attempts(history)
    ahead, waits = _claimed_ahead(history, attempts), _waits(history, attempts)
    claims = sum(event.kind == "claimed" for event in history.queue_events)
    figures: dict[str, float] = {"claimed ids": claims, "inversions": len(inversions), "starts timed": len(waits)}
    misplaced = [] if any(fault.kind in LYING for fault in history.fired) else list(_misplaced(history))
    violations = [*inversions, *ahead, *misplaced]
    if waits:
        figures["longest wait for a thread, s"] = max(seconds for seconds, _ in waits)
    allowed = _allowed_wait(history)
    if allowed is not None:
        violations += [
            Violation(
                "waited", f"claimed {seconds:.2f} s before its start; {allowed:.2f} s are allowed", attempt.job_id
            )
            for seconds, attempt in waits
            if seconds > allowed and not is_disturbed(history, attempt.claim.at, attempt.claim.at + seconds, slack=5)
        ]
    return Report("C7 priority", ("I8",), claims + len(waits), tuple(violations), figures)


def _inversions(events: tuple[QueueEvent, ...]) -> Iterator[Violation]:
    ready: defaultdict[str, dict[str, float]] = defaultdict(dict)
    is_known: defaultdict[str, bool] = defaultdict(lambda: True)
    ordered = sorted(events, key=lambda event: event.order)
    for (pool, kind, call), group in groupby(ordered, key=lambda event: (event.pool, event.kind, event.call)):
        here = ready[pool]
        if kind == "claimed" and call:
            together = list(group)  # one claim: taken at one moment
            places = {event.job_id: here.pop(event.job_id, event.place) for event in together}
            known = {job_id: place for job_id, place in places.items() if place is not None}
            if is_known[pool] and known and here:
                yield from _compare(known, here)
            continue
        for event in group:
            if kind == "ready" and event.place is not None:
                here[event.job_id] = event.place
            elif kind in {"left", "claimed"}:
                here.pop(event.job_id, None)
            elif kind == "lost":
                here.clear()
                is_known[pool] = False
            elif kind == "complete":
                is_known[pool] = True


def _compare(taken: dict[str, float], left: dict[str, float]) -> Iterator[Violation]:
    last = max(taken, key=lambda job_id: taken[job_id])
    first = min(left, key=lambda job_id: left[job_id])
    if left[first] < taken[last]:
        ranks = int(taken[last] // SCORE_STEP), int(left[first] // SCORE_STEP)
        if ranks[0] != ranks[1]:
            yield Violation(
                "inversion", f"taken at priority {ranks[0]} while {first} of priority {ranks[1]} was ready", last
            )
        else:
            yield Violation("order", f"taken before {first}, which has waited longer at priority {ranks[1]}", last)


def _claimed_ahead(history: History, attempts: dict[tuple[str, int], Attempt]) -> Iterator[Violation]:
    """With horizon 0 nobody has more claimed jobs that have not started than it has threads."""
    slots = int(history.run.settings.get("slots", 0))
    if not slots or history.run.settings.get("horizon", 1) > 0:
        return
    started = {(e.job_id, e.attempt): e.at for e in history.effects if e.phase == "start" and e.sink == "plain"}
    steps: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for key, attempt in attempts.items():
        over = min(attempt.end.at if attempt.end is not None else float("inf"), started.get(key, float("inf")))
        if attempt.owner is not None:
            steps[attempt.owner] += [(attempt.claim.at, 1), (max(over, attempt.claim.at), -1)]
    for owner, changes in sorted(steps.items()):
        held = most = 0
        for _, change in sorted(changes):
            held += change
            most = max(most, held)
        if most > slots:
            says = f"{owner} held {most} jobs that had not started, with {slots} threads and nothing to claim ahead"
            yield Violation("ahead", says)


def _misplaced(history: History) -> Iterator[Violation]:
    """Among the ready a job stands where its document says: priority first, then age."""
    documents = {document.id: document for document in history.documents}
    told = set()
    for event in history.queue_events:
        document = documents.get(event.job_id)
        if event.kind != "ready" or event.place is None or document is None or event.job_id in told:
            continue
        created_ms = (document.created_at + history.run.wall_at_zero) * 1000
        ranks = {document.priority, 0} if document.boosted else {document.priority}
        if all(abs(rank * SCORE_STEP + created_ms - event.place) > 2 for rank in ranks):
            told.add(event.job_id)
            says = f"stood among the ready at {event.place:.0f}; its priority is {document.priority}"
            yield Violation("misplaced", says, event.job_id)


def _waits(history: History, attempts: dict[tuple[str, int], Attempt]) -> list[tuple[float, Attempt]]:
    found = []
    for effect in history.effects:
        attempt = attempts.get((effect.job_id, effect.attempt))
        if effect.phase == "start" and effect.sink == "plain" and attempt is not None:
            found.append((effect.at - attempt.claim.at, attempt))
    return found


def _allowed_wait(history: History) -> float | None:
    settings = history.run.settings
    if "horizon" not in settings:
        return None
    return max(STALE_FACTOR * settings["horizon"], STALE_SECONDS) + settings.get("slack", 1.0)
