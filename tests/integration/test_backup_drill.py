"""The drill of `docs/operations.md`: a backup of MongoDB, a loss of both stores, and everything of before it runs."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from pymongo.errors import PyMongoError
from whole import start_whole

from headrace.testing.eventually import eventually


@pytest.mark.slow
async def test_a_restored_backup_runs_everything_that_was_accepted_before_it(tmp_path: Path) -> None:
    """With jobs done, running and waiting; a job accepted after the backup is lost, and nothing of it is left."""
    async with start_whole({"JOB_MAX_WORKERS": "2"}) as whole:
        client, mongo = whole.client, whole.system.mongo
        done = [await client.submit("test.sleep", {"seconds": 0}) for _ in range(3)]
        for job in done:
            await whole.until_state(job.id, "completed")
        held = [await client.submit("test.sleep", {"seconds": 2}) for _ in range(6)]

        async def some_run() -> bool:
            return any([await whole.state(job.id) == "processing" for job in held])

        await eventually(some_run)
        # The backup: the folder of a member that is stopped.
        await asyncio.to_thread(mongo.stop)
        shutil.copytree(mongo.folder / "data", tmp_path / "backup")
        await asyncio.to_thread(mongo.start)
        after = await client.submit("test.sleep", {"seconds": 0})
        await whole.until_state(after.id, "completed")

        # The loss and the restore.
        await asyncio.to_thread(mongo.kill)
        await asyncio.to_thread(mongo.wipe)
        shutil.copytree(tmp_path / "backup", mongo.folder / "data", dirs_exist_ok=True)
        await asyncio.to_thread(mongo.start)
        await whole.redis.flushall()

        async def ended() -> bool:
            try:
                states = {job.id: await whole.state(job.id) for job in (*done, *held)}
            except PyMongoError as error:  # while the driver looks for the primary
                raise AssertionError(str(error)) from None
            assert set(states.values()) == {"completed"}, states
            return True

        await eventually(ended, within=60, what="everything that was accepted before the backup ends")
        await whole.assert_sound(*(job.id for job in (*done, *held)))
        assert await whole.database.jobs.find_one({"_id": after.id}) is None
        await whole.until_redis_agrees("test")
