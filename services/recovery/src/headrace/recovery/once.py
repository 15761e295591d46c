"""`headrace-recovery --once`: one pass for an operator, with a report."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from headrace.contracts.config import JobConfig, load_config
from headrace.contracts.errors import ConfigError, StoreUnavailableError
from headrace.recovery import report
from headrace.recovery.counts import Counts
from headrace.recovery.dead_claims import DeadClaimsDuty
from headrace.recovery.expiry import ExpiryDuty
from headrace.recovery.full import FullPass
from headrace.recovery.ghosts import APART_SECONDS, GhostDuty, Suspects
from headrace.recovery.mend import Mender
from headrace.recovery.orphans import OrphanDuty
from headrace.recovery.overdue import CancelDuty, TimeoutDuty
from headrace.recovery.parts import NAME, Parts, open_parts
from headrace.recovery.pools import Pools
from headrace.recovery.rebuild import RebuildDuty
from headrace.recovery.reservations import ReservationDuty
from headrace.recovery.stored import StoredDuty
from headrace.recovery.sweep import SweepDuty
from headrace.runtime.process import failpoints
from headrace.runtime.process.logs import configure_logging

EXIT_CLEAN = 0
EXIT_DRIFT = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 4
LOOK = 1000
"""What waits is counted up to so many."""


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Returns:
        0 when nothing differs or everything was repaired, 1 when `--check` found a difference or `--repair` left one,
        2 for wrong arguments or settings, 4 when a store does not answer.
    """
    options = _parse(arguments)
    try:
        config, _ = load_config()
        failpoints.install(config.failpoints)
        configure_logging(config, service=NAME)
        return asyncio.run(_run(config, repair=options.repair, as_json=options.json))
    except ConfigError as error:
        return _fail(str(error), EXIT_USAGE)
    except StoreUnavailableError as error:
        return _fail(error.detail, EXIT_UNREACHABLE)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="headrace-recovery",
        description="Without arguments: the service. With --once: compare Redis with MongoDB once and report.",
    )
    parser.add_argument("--once", action="store_true", required=True, help="one pass instead of the service")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="only look; exit 1 when something differs")
    what.add_argument("--repair", action="store_true", help="mend what differs; safe beside running services")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    return parser.parse_args(arguments)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"headrace-recovery: {' '.join(message.split())}\n")
    return code


async def _run(config: JobConfig, *, repair: bool, as_json: bool) -> int:
    parts = open_parts(config)
    try:
        await parts.database.ping()
        await parts.queue.check_policy()
        found = await (_repair(parts) if repair else _check(parts))
    finally:
        await parts.close()
    sys.stdout.write(report.as_json(found) if as_json else report.text(found))
    return EXIT_CLEAN if (found.is_repaired if repair else found.is_clean) else EXIT_DRIFT


async def _check(parts: Parts) -> report.Report:
    pools = Pools(parts)
    incomplete = await _incomplete(parts, pools)
    comparison = FullPass(parts, pools, None)
    await comparison.run_once()
    return report.Report(drift=comparison.drift, incomplete=incomplete, waits=await _waits(parts, pools))


async def _repair(parts: Parts) -> report.Report:
    pools, suspects = Pools(parts), Suspects()
    incomplete, waits = await _incomplete(parts, pools), await _waits(parts, pools)
    comparison = FullPass(parts, pools, Mender(parts, suspects))
    mended = Counts()
    while found := await OrphanDuty(parts).run_once():
        mended += found
    for duty in (
        ExpiryDuty(parts),
        TimeoutDuty(parts),
        CancelDuty(parts),
        RebuildDuty(parts, pools),
        StoredDuty(parts, pools),
        ReservationDuty(parts, pools),
        DeadClaimsDuty(parts, pools),
        SweepDuty(parts, pools, suspects),
        comparison,
    ):
        mended += await duty.run_once()
    if len(suspects):
        sys.stderr.write(f"headrace-recovery: {len(suspects)} ids have no job; looking again in {APART_SECONDS:g} s\n")
        await asyncio.sleep(APART_SECONDS)
        while len(suspects):
            mended += await GhostDuty(parts, suspects).run_once()
    left = {"incomplete pools": len(await _incomplete(parts, pools)), **await _waits(parts, pools)}
    return report.Report(drift=comparison.drift, incomplete=incomplete, waits=waits, mended=mended, left=left)


async def _incomplete(parts: Parts, pools: Pools) -> list[str]:
    return [pool for pool in await pools.names() if not await parts.queue.is_complete(pool)]


async def _waits(parts: Parts, pools: Pools) -> dict[str, int]:
    names = await pools.names()
    stored = [await parts.reconcile.stored(pool, limit=LOOK) for pool in names]
    places = [await parts.queue.expired_reservations(pool, limit=LOOK) for pool in names]
    return {
        "orphans": len(await parts.jobs.orphans(parts.incarnations.collection, limit=LOOK)),
        "overdue runs": len(await TimeoutDuty(parts).find()),
        "unanswered cancels": len(await CancelDuty(parts).find()),
        "jobs not started in time": len(await parts.reads.expired_ids(limit=LOOK)),
        "jobs not pushed yet": sum(map(len, stored)),
        "places past their time": sum(map(len, places)),
    }
