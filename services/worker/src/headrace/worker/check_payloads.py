"""`headrace-worker check-payloads`: whether what is installed here can run what waits in MongoDB.

Run it with the new version before a deploy. It reads, and changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.contracts.config import JobConfig, load_config
from headrace.contracts.errors import ConfigError, StoreUnavailableError
from headrace.contracts.executor import JobExecutor
from headrace.runtime.process.logs import configure_logging
from headrace.runtime.store.database import Database
from headrace.runtime.store.payload_reads import PayloadReads, PendingPayload
from headrace.worker.payload_report import FailingJob, Report, TypeReport, problems_of
from headrace.worker.payloads import read_payload
from headrace.worker.registry import load_executors

EXIT_OK = 0
EXIT_FAILING = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 4
PAGE = 500

Executors = Mapping[str, type[JobExecutor[Any]]]


def check_payloads(*, only: Sequence[str] = (), as_json: bool = False) -> int:
    """Check and print the report on standard output.

    Args:
        only: These job types alone; all installed ones when empty.
        as_json: One JSON object instead of text.

    Returns:
        0: every payload fits. 1: some do not, or are of a newer version. 2: a wrong setting, a broken executor, or a
        type that is not installed (one line on standard error). 4: MongoDB does not answer.
    """
    try:
        config, _ = load_config()
        configure_logging(config, service="worker")
        executors = _installed(config, only)
        report = asyncio.run(_check(config, executors))
    except ConfigError as error:
        return _say(error, EXIT_USAGE)
    except StoreUnavailableError as error:
        return _say(error, EXIT_UNREACHABLE)
    lines = [json.dumps(report.to_json())] if as_json else report.to_lines()
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return EXIT_OK if report.is_clean else EXIT_FAILING


def _installed(config: JobConfig, only: Sequence[str]) -> Executors:
    executors = load_executors(test_mode=config.test_mode)
    missing = sorted(set(only) - set(executors))
    if missing:
        raise ConfigError(f"no executor is installed for {', '.join(missing)}")
    return {name: executors[name] for name in sorted(set(only) or executors)}


async def _check(config: JobConfig, executors: Executors) -> Report:
    database = Database(config, appname="headrace-worker-check-payloads", max_pool_size=1)
    try:
        reads = PayloadReads(database)
        report = Report({name: TypeReport(name, executor.contract_version) for name, executor in executors.items()})
        last = ""
        while page := await reads.page(after_id=last, limit=PAGE):
            for item in page:
                check_one(item, executors, report)
            last = page[-1].job_id
        return report
    finally:
        database.close()


def check_one(item: PendingPayload, executors: Executors, report: Report) -> None:
    """Add one job to the report: read its payload as a worker would."""
    executor = executors.get(item.type)
    if executor is None:
        report.not_installed[item.type] += 1
        return
    found = report.types[item.type]
    found.checked += 1
    if item.contract_version > executor.contract_version:
        found.newer += 1
        return
    try:
        read_payload(executor, item.payload, item.contract_version)
    except Exception as error:  # noqa: BLE001 -- an executor's own code may raise anything
        found.add_failing(FailingJob(item.job_id, item.contract_version, problems_of(error)))
    else:
        found.ok += 1
        found.upcast += item.contract_version != executor.contract_version


def _say(error: Exception, code: int) -> int:
    sys.stderr.write(f"headrace-worker: {' '.join(str(error).split())}\n")
    return code
