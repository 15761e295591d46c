"""The child process: `python -m headrace.worker.child`, started by the supervisor alone.

Its standard input is its life line: when the supervisor is gone it ends, and the child drains. SIGTERM drains as well;
SIGINT is ignored, because a Ctrl-C reaches the supervisor too, which decides.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import structlog

from headrace.contracts.config import load_config
from headrace.contracts.errors import ConfigError
from headrace.runtime.process import failpoints, tracing
from headrace.runtime.process.logs import configure_logging

if TYPE_CHECKING:
    from headrace.worker.job_worker import JobWorker

SPEC_VARIABLE = "HEADRACE_CHILD"

log = structlog.get_logger(__name__)


def main() -> int:
    """Run until told to stop; exit code 0 after a drain."""
    # A claim makes hundreds of values that all die by themselves: looking for cycles among them as often as Python does
    # by default takes a tenth of the time.
    gc.set_threshold(50_000, 20, 50)
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        config, _ = load_config()
        failpoints.install(config.failpoints)
        configure_logging(config, service="worker")
        tracing.start("worker")
        from headrace.worker.child_spec import ChildSpec
        from headrace.worker.job_output import capture_output
        from headrace.worker.job_worker import JobWorker
        from headrace.worker.registry import load_executors

        fields = json.loads(os.environ[SPEC_VARIABLE])
        spec = ChildSpec(**{**fields, "types": tuple(fields["types"])})
        executors = load_executors(test_mode=config.test_mode, only=spec.types)
    except (ConfigError, KeyError) as error:
        sys.stderr.write(f"headrace-worker child: {error}\n")
        return 2
    capture_output()
    try:
        worker = JobWorker(spec, config, executors)
        threading.Thread(target=_watch_supervisor, args=(worker, stop), daemon=True).start()
        worker.boot()
        gc.freeze()  # modules and classes stay for good
    except Exception:
        # Loop and threads may have begun; left alone they would keep a process that never claims.
        log.exception("child.not_booted", pool=spec.pool, types=list(spec.types))
        sys.stderr.flush()
        os._exit(1)
    stop.wait()
    worker.drain()
    tracing.stop()
    sys.stderr.flush()
    # Threads that no exception can end must not hold the process: everything of theirs has been handed back.
    os._exit(0)


def _watch_supervisor(worker: JobWorker, stop: threading.Event) -> None:
    while os.read(0, 4096):  # something was written: the number of slots has changed
        worker.resize()
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
