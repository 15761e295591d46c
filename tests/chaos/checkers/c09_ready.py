"""C9b (I12): a service that cannot accept or claim does not call itself ready."""

from __future__ import annotations

from tests.chaos.history import FiredFault, History

from .report import Report, Violation

NOTICE_SECONDS = 5.0
"""How long a service may take to notice (`ready_notice` of the settings)."""


def cannot_work(fault: FiredFault) -> frozenset[str]:
    """The roles that can do nothing while this fault is on."""
    if fault.target == "mongod:majority" and fault.kind in {"pause", "kill"}:
        return frozenset({"scheduler", "worker"})
    return frozenset()


def check_ready(history: History) -> Report:
    """Judge the probes that were answered while nothing could be done."""
    roles = {process.name: process.role for process in history.processes}
    notice = history.run.settings.get("ready_notice", NOTICE_SECONDS)
    violations = []
    judged = 0
    for fault in history.fired:
        until = history.run.quiet_at if fault.ended is None else fault.ended
        for probe in history.probes:
            if roles.get(probe.process) in cannot_work(fault) and fault.at + notice < probe.at < until:
                judged += 1
                if probe.ready:
                    says = f"{probe.process} was ready {probe.at - fault.at:.1f} s into {fault.kind} of {fault.target}"
                    violations.append(Violation("ready", says))
    return Report(
        "C9 ready", ("I12",), judged, tuple(violations), {"probes": len(history.probes), "probes in an outage": judged}
    )
