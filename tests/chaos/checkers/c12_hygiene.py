"""C12: nothing is left running, dies by itself, shouts unexpectedly, tells secrets, grows, or stalls Redis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.history import History, Process, SlowCommand

from .attempts import is_disturbed
from .report import Report, Violation

EXPECTED_EXCEPTIONS = frozenset({"StoreUnavailableError", "OutcomeUnknownError"})
"""What may be logged with a traceback while stores are away; everything else is a bug of ours."""
GROWTH = 1.2
RSS_SLACK_BYTES = 32 * 1024 * 1024
SOCKETS_SLACK = 5
SLOW_MICROSECONDS = 10_000.0
DEAD_SECONDS = 10.0
"""From a fault until somebody is declared dead for it: a lease, sweeps, a loaded machine."""
NOTICE_SECONDS = 1.5
"""Between the supervisor's word and the end of a child that is seen."""
PILL = "test.die"
"""The type of jobs that kill who runs them."""
SUITES_OWN = frozenset(
    {
        "DEBUG",
        "FLUSHALL",
        "BGSAVE",
        "SAVE",
        "CONFIG",
        "CLIENT",
        "SCRIPT",
        "MONITOR",
        "SLOWLOG",
        "INFO",
        "SHUTDOWN",
        "PSYNC",
    }
)


def check_hygiene(history: History) -> Report:
    """Judge processes, logs, resources and Redis' slow log."""
    violations = [
        *_processes(history),
        *_logs(history),
        *_resources(history),
        *_slow(history),
    ]
    tracebacks = sum(line.exception is not None for line in history.log_lines)
    return Report(
        "C12 hygiene",
        (),
        len(history.processes),
        tuple(violations),
        {
            "processes": len(history.processes),
            "tracebacks": tracebacks,
            "warnings and errors": len(history.log_lines),
            "slow commands": len(history.slow_commands),
        },
    )


def _processes(history: History) -> Iterator[Violation]:
    pills = {document.id for document in history.documents if document.job_type == PILL}
    poisoned = {effect.pid for effect in history.effects if effect.job_id in pills}
    for process in history.processes:
        if process.pid in poisoned and process.role == "child":
            continue
        if process.alive_after:
            yield Violation("left-running", f"{process.name} (pid {process.pid}) outlived the run")
        if _was_declared_dead(history, process):
            if not is_disturbed(
                history, (process.ended or 0.0) - DEAD_SECONDS, process.ended or 0.0, slack=DEAD_SECONDS
            ):
                yield Violation("falsely-dead", f"{process.name} was declared dead at {process.ended:.1f} s in calm")
        elif process.ended is not None and process.ended_by is None and process.exit_code != 0:
            yield Violation("died", f"{process.name} ended by itself with {process.exit_code} at {process.ended:.1f} s")


def _was_declared_dead(history: History, process: Process) -> bool:
    """Whether its supervisor ended a child because others had declared it dead, which says that it was cut off."""
    ended = process.ended
    return (
        process.role == "child"
        and ended is not None
        and any(
            line.event == "child.declared_dead"
            and line.process == process.name.partition("/")[0]
            and -NOTICE_SECONDS < ended - line.at < NOTICE_SECONDS
            for line in history.log_lines
        )
    )


def _logs(history: History) -> Iterator[Violation]:
    for line in history.log_lines:
        if line.exception is not None and line.exception not in EXPECTED_EXCEPTIONS:
            yield Violation("traceback", f"{line.process} at {line.at:.1f} s: {line.event}: {line.exception}")
    for hit in history.canary_hits:
        if not hit.where.startswith("redis:"):
            yield Violation("secret", f"{hit.where} holds {hit.canary}")


def _resources(history: History) -> Iterator[Violation]:
    slack = history.run.settings.get("sockets_slack", SOCKETS_SLACK)
    samples = defaultdict(list)
    for sample in sorted(history.resources, key=lambda sample: sample.at):
        samples[sample.process].append(sample)
    for process, of_it in sorted(samples.items()):
        first, last = of_it[0], of_it[-1]
        if last.rss_bytes > first.rss_bytes * GROWTH + RSS_SLACK_BYTES:
            grown = (last.rss_bytes - first.rss_bytes) / 2**20
            yield Violation("memory", f"{process} grew by {grown:.0f} MiB from {first.rss_bytes / 2**20:.0f} MiB")
        if last.sockets > first.sockets * GROWTH + slack:
            yield Violation("sockets", f"{process} has {last.sockets} sockets, after {first.sockets} at the start")


def _slow(history: History) -> Iterator[Violation]:
    limit = history.run.settings.get("slow_command", SLOW_MICROSECONDS / 1e6) * 1e6
    for command in history.slow_commands:
        verb = command.command.split(" ", 1)[0].upper()
        if verb == "KEYS":
            yield Violation("keys", f"somebody ran {command.command[:80]}")
        elif verb not in SUITES_OWN and command.microseconds > limit and not _was_frozen(history, command):
            yield Violation("slow", f"{command.microseconds / 1000:.0f} ms in Redis: {command.command[:80]}")


def _was_frozen(history: History, command: SlowCommand) -> bool:
    """Redis' log has whole seconds; a command in whose middle Redis was frozen lasted as long as that."""
    began, ended = command.at - command.microseconds / 1e6, command.at + 1.0
    return any(
        (fault.kind, fault.target) == ("pause", "redis") and fault.at <= ended and fault.over >= began
        for fault in history.fired
    )
