"""Kill an executor wherever that may matter, let the next attempt go on, and compare the outcomes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.testing.boundary import Boundary, Kind
from headrace.testing.builders import make_job_id
from headrace.testing.ended import Ended, KillReport, Status
from headrace.testing.kit import ExecutorKit, MakeExecutor, Payload

SHOWN = 500
"""Characters of a value in a failure."""


async def run_with_kills(
    executor: MakeExecutor,
    payload: Payload | Callable[[], Payload],
    *,
    at_progress: bool = False,
    expected: Status = Status.COMPLETED,
    observe: Callable[[], Any] | None = None,
    at_most: int = 200,
) -> KillReport:
    """Run an executor once to its end, then once for each boundary: killed there, and gone on with by attempt 2.

    The boundaries are: before the start, before and after each checkpoint, after the return. At last every attempt is
    killed after its first checkpoint, until one ends. Each next attempt has a new executor, an empty scratch folder,
    the saved checkpoint, and a higher attempt number; it must end as the uninterrupted run did.

    Args:
        executor: The class, or what makes an executor.
        payload: Or what makes one: called before each run, so that it may also prepare the outside world.
        at_progress: Also kill before and after each report of progress.
        expected: How the uninterrupted run must end, so that a failure of its own proves nothing.
        observe: Called after each run; what it returns (effects outside, say) must be the same too.
        at_most: Kill at this many boundaries, spread evenly, when there are more.

    Raises:
        AssertionError: The outcome differs, or an attempt makes no headway; the message names the boundary.
    """
    return await run_kills(
        ExecutorKit(executor),
        payload,
        at_progress=at_progress,
        expected=expected,
        observe=observe,
        at_most=at_most,
    )


@dataclass(frozen=True)
class _Seen:
    """What is compared."""

    outcome: tuple[str, Any]
    effects: Any


async def run_kills(
    kit: ExecutorKit,
    payload: Payload | Callable[[], Payload],
    *,
    at_progress: bool,
    expected: Status,
    observe: Callable[[], Any] | None,
    at_most: int,
) -> KillReport:
    """See `run_with_kills`."""
    __tracebackhide__ = True
    name = type(kit.make()).__name__

    def make() -> Payload:
        return payload() if callable(payload) else payload

    def see(ended: Ended) -> _Seen:
        return _Seen(ended.outcome, None if observe is None else observe())

    def compare(how: str, ended: Ended, checkpoint: str | None) -> None:
        __tracebackhide__ = True
        _compare(f"{name}: {how}", checkpoint, wanted=wanted, found=see(ended))

    whole = await kit.run(make())
    if whole.status is not expected:
        raise AssertionError(f"{name}: the uninterrupted run should end {expected}; it ended {_show(whole.outcome)}")
    wanted = see(whole)
    attempts = 1
    boundaries = _spread(_boundaries(whole.reached, at_progress=at_progress), at_most)
    for boundary in boundaries:
        job_id, job_payload = make_job_id(), make()
        first = await kit.run(job_payload, job_id=job_id, kill=boundary)
        attempts += 1
        if first.status is not Status.KILLED:
            raise AssertionError(
                f"{name}: a second run did not come to where it should be killed, {boundary}: it does not do the same"
                f" twice. It ended: {_show(first.outcome)}"
            )
        second = await kit.run(job_payload, job_id=job_id, attempt=2, checkpoint=first.checkpoint)
        attempts += 1
        compare(f"killed {boundary}", second, first.checkpoint)
    if whole.checkpoints:
        attempts += await _kill_again_and_again(
            kit, name, payload=make(), checkpoints=len(whole.checkpoints), compare=compare
        )
    return KillReport(whole, tuple(boundaries), attempts)


async def _kill_again_and_again(
    kit: ExecutorKit,
    name: str,
    *,
    payload: Payload,
    checkpoints: int,
    compare: Callable[[str, Ended, str | None], None],
) -> int:
    """Kill every attempt after the first checkpoint that says something new. Returns how many attempts it took."""
    __tracebackhide__ = True
    job_id, saved, number = make_job_id(), None, 1
    most = 2 * checkpoints + 2
    for attempt in range(1, most + 1):
        kill = Boundary.after_checkpoint(number)
        ended = await kit.run(payload, job_id=job_id, attempt=attempt, checkpoint=saved, kill=kill)
        if ended.status is not Status.KILLED:
            compare(f"killed after its first checkpoint in each of {attempt - 1} attempts", ended, saved)
            return attempt
        number = number + 1 if ended.checkpoint == saved else 1  # one that saves what it was given first gets further
        saved = ended.checkpoint
    raise AssertionError(
        f"{name}: killed after the first checkpoint of each attempt, it makes no headway: an uninterrupted run saves"
        f" {checkpoints}, and attempt {most} is still not the last\n{_from(saved)}"
    )


def _boundaries(reached: Iterable[Boundary], *, at_progress: bool) -> list[Boundary]:
    return [boundary for boundary in reached if at_progress or boundary.kind is not Kind.PROGRESS]


def _spread(boundaries: Sequence[Boundary], at_most: int) -> list[Boundary]:
    """The first, the last, and evenly many between."""
    if len(boundaries) <= at_most:
        return list(boundaries)
    step = (len(boundaries) - 1) / max(1, at_most - 1)
    return [boundaries[round(number * step)] for number in range(at_most)]


def _compare(how: str, checkpoint: str | None, *, wanted: _Seen, found: _Seen) -> None:
    __tracebackhide__ = True
    if found == wanted:
        return
    lines = [f"{how}, it ends otherwise than an uninterrupted run"]
    if found.outcome != wanted.outcome:
        lines += [f"  uninterrupted: {_show(wanted.outcome)}", f"  after the kill: {_show(found.outcome)}"]
    if found.effects != wanted.effects:
        lines += [f"  its effects: {_show(wanted.effects)}", f"  after the kill: {_show(found.effects)}"]
    lines.append(_from(checkpoint))
    raise AssertionError("\n".join(lines))


def _from(checkpoint: str | None) -> str:
    return f"  it went on from the checkpoint: {'none' if checkpoint is None else _show(json.loads(checkpoint))}"


def _show(value: Any) -> str:
    if isinstance(value, tuple) and len(value) == 2:
        return f"{value[0]}, {_show(value[1])}"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"
