"""Runs `headrace-local` with stand-ins instead of the services: `driver.py MODE,MODE -- ARGUMENTS`."""

from __future__ import annotations

import sys
from pathlib import Path

from headrace.local import __main__ as command
from headrace.local import system
from headrace.local.ports import free_port
from headrace.local.service import ServiceSpec

STAND_IN = str(Path(__file__).with_name("stand_in.py"))


def specs(modes: str) -> tuple[ServiceSpec, ...]:
    names = ("scheduler", "monitor", "worker", "recovery")
    return tuple(
        ServiceSpec(name, free_port(), (sys.executable, STAND_IN, mode))
        for name, mode in zip(names, modes.split(","), strict=False)
    )


def use_stand_ins(modes: str) -> None:
    system.LocalSystem.__init__.__kwdefaults__["services"] = specs(modes)


if __name__ == "__main__":
    use_stand_ins(sys.argv[1])
    sys.exit(command.main(sys.argv[2:]))
