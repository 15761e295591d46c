"""C0: every planned fault fired, and nothing fired that nobody planned. A run that broke nothing proves nothing."""

from __future__ import annotations

from tests.chaos.history import History

from .report import Report, Violation


def check_faults(history: History) -> Report:
    """Compare plan and deed."""
    planned = {fault.id: fault for fault in history.planned}
    fired = {fault.id: fault for fault in history.fired}
    violations = [
        Violation("not-fired", f"{fault.kind} of {fault.target} was planned for {fault.at:.1f} s and did not happen")
        for fault in planned.values()
        if fault.id not in fired
    ]
    for fault in fired.values():
        plan = planned.get(fault.id)
        if plan is None:
            violations.append(Violation("unplanned", f"{fault.kind} of {fault.target} at {fault.at:.1f} s"))
        elif (plan.kind, plan.target) != (fault.kind, fault.target):
            violations.append(
                Violation("another", f"{plan.kind} of {plan.target} was planned; {fault.kind} of {fault.target} fired")
            )
    return Report(
        "C0 faults",
        (),
        len(planned),
        tuple(violations),
        {"planned": len(planned), "fired": len(fired.keys() & planned)},
    )
