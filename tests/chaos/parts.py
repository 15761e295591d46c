"""The services of a run and their children, as the suite knows them; names and sizes that all share."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.local.service import ServiceProcess
from headrace.runtime.queue import Keys

from .proxy import Link

NAMESPACE = "chaos"
POOL = "test"
KEYS = Keys(NAMESPACE).pool(POOL)
POOLS_FILE = """
[pools.test]
min_slots = 4
max_slots = 4
slots_per_process = 4
memory_limit_mb = 400
[pools.default]
min_slots = 0
max_slots = 0
[pools.crawl]
min_slots = 0
max_slots = 0
"""


@dataclass
class Child:
    """A worker child that was seen."""

    part: str
    pid: int
    incarnation: str
    started: float
    ended: float | None = None


@dataclass
class Part:
    """One service, over all its processes."""

    name: str
    role: str
    port: int
    links: dict[str, Link]
    env: dict[str, str]
    process: ServiceProcess | None = None
    started: float = 0.0
    wanted: bool = True
    """Whether it is started again when it ends."""
    pids: list[int] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """Of the process that runs, or ran last."""
        return self.pids[-1]

    @property
    def runs(self) -> bool:
        """Whether there is a process (it may be paused)."""
        return self.process is not None and self.process.exit_code is None
