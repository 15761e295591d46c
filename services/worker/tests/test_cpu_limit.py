"""CPU seconds of one job."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time

from structlog.testing import capture_logs

from headrace.testing.builders import make_job
from headrace.worker.cpu_limit import limit_cpu
from headrace.worker.held import Held

BURN = """
import time
from headrace.testing.builders import make_job
from headrace.worker.cpu_limit import limit_cpu
from headrace.worker.held import Held
def burn(held):
    while True:
        pass
def rest(held):
    pass
for _ in range(3):
    limit_cpu(rest, cpu_seconds=1, slots=1)(Held(make_job(), "t"))
limit_cpu(burn, cpu_seconds=1, slots=1)(Held(make_job(), "t"))
"""


def test_without_a_limit_nothing_is_wrapped() -> None:
    run = print
    assert limit_cpu(run, cpu_seconds=None, slots=1) is run


def test_with_one_slot_the_kernel_ends_the_process_at_the_limit() -> None:
    assert subprocess.run([sys.executable, "-c", BURN], timeout=60).returncode == -signal.SIGXCPU


def test_the_limit_is_lifted_when_the_job_has_ended() -> None:
    before = resource.getrlimit(resource.RLIMIT_CPU)
    seen = []
    run = limit_cpu(lambda _: seen.append(resource.getrlimit(resource.RLIMIT_CPU)[0]), cpu_seconds=1000, slots=1)
    run(Held(make_job(), "t"))
    assert seen[0] >= 1000
    assert seen[0] != resource.RLIM_INFINITY
    assert resource.getrlimit(resource.RLIMIT_CPU) == before


def test_with_several_slots_the_time_of_a_plain_function_is_counted_and_told() -> None:
    def burn(_: Held) -> None:
        until = time.thread_time() + 1.05
        while time.thread_time() < until:
            pass

    held = Held(make_job(), "t")
    with capture_logs() as lines:
        limit_cpu(lambda _: None, cpu_seconds=1, slots=2)(held)
        limit_cpu(burn, cpu_seconds=1, slots=2)(held)
    (line,) = [line for line in lines if line["event"] == "job.cpu_limit"]
    assert (line["job_id"], line["limit"]) == (held.job.id, 1)
