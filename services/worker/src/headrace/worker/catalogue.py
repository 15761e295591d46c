"""Which job types are installed here and which pools they use, learned without importing any of them.

A short-lived process (`python -m headrace.worker.catalogue`) imports the executors and prints what they declare, so the
supervisor never pays for their imports, and a plug-in that breaks at import breaks that process alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from typing import Any

from pydantic import PydanticUserError

from headrace.contracts.errors import ConfigError
from headrace.contracts.executor import ExecutionPolicy, JobExecutor
from headrace.runtime.store.job_types import JobType
from headrace.worker import early

DISCOVERY_SECONDS = 30.0


async def discover(*, test_mode: bool) -> list[JobType]:
    """Ask the installed executors what they are.

    Raises:
        ConfigError: An executor is broken or none is installed; the message says which.
    """
    process = early.take(test_mode=test_mode)
    try:
        output, complaint = await asyncio.to_thread(process.communicate, timeout=DISCOVERY_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.communicate)
        raise ConfigError(f"the installed executors did not import within {DISCOVERY_SECONDS:g} s") from None
    finally:
        if process.poll() is None:
            process.kill()  # cancelled: the thread that waits for its answer ends with it
    if process.returncode != 0:
        lines = complaint.decode(errors="replace").strip().splitlines()
        raise ConfigError(lines[-1] if lines else "the installed executors cannot be read")
    types = [_from_json(item) for item in json.loads(output.splitlines()[-1])]
    if not types:
        raise ConfigError("no executor is installed: nothing is registered under headrace.executors")
    return types


def _from_json(item: dict[str, Any]) -> JobType:
    return JobType(
        type=item["type"],
        policy=ExecutionPolicy.model_validate(item["policy"]),
        payload_schema=item["payload_schema"],
        contract_version=item["contract_version"],
    )


def main(arguments: list[str]) -> int:
    """Print the catalogue as JSON; an unusable executor is one line on stderr and exit code 2."""
    from headrace.worker.registry import load_executors

    try:
        with contextlib.redirect_stdout(sys.stderr):  # plug-ins may print while they are imported
            executors = load_executors(test_mode="--test-mode" in arguments)
            items = [_to_json(name, executor) for name, executor in sorted(executors.items())]
    except ConfigError as error:
        sys.stderr.write(f"\n{' '.join(str(error).split())}\n")
        return 2
    sys.stdout.write(f"\n{json.dumps(items)}\n")
    return 0


def _to_json(name: str, executor: type[JobExecutor[Any]]) -> dict[str, Any]:
    try:
        schema = executor.payload_model.model_json_schema()
    except PydanticUserError as error:
        raise ConfigError(f"executor {name!r}: its payload_model has no JSON Schema: {error.message}") from error
    return {
        "type": name,
        "policy": executor.policy.model_dump(mode="json"),
        "payload_schema": schema,
        "contract_version": executor.contract_version,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
