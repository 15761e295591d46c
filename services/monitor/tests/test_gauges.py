from __future__ import annotations

from headrace.testing.eventually import eventually


async def lines(monitor) -> set[str]:
    return set((await (await monitor.get("/metrics")).text()).splitlines())


async def test_depths_ages_workers_and_slots_are_exported(world, monitor):
    await world.healthy()
    await world.wait_in("crawl", await world.put(), await world.put())
    await world.beat(host="lost", seconds_ago=200)
    found = await lines(monitor)
    assert {
        'job_queue_depth{queue="crawl",state="waiting_high"} 0.0',
        'job_queue_depth{queue="crawl",state="waiting_medium"} 2.0',
        'job_queue_depth{queue="crawl",state="delayed"} 0.0',
        'job_queue_depth{queue="crawl",state="in_flight"} 0.0',
        'job_workers{state="alive"} 1.0',
        'job_workers{state="lost"} 1.0',
        'job_worker_slots{state="busy"} 1.0',
        'job_worker_slots{state="free"} 3.0',
        'job_jobs{state="queued"} 2.0',
        'job_part_up{part="mongodb"} 1.0',
        'job_part_up{part="recovery"} 1.0',
    } <= found
    assert any(line.startswith('job_queue_oldest_age_seconds{queue="crawl"}') for line in found)


async def test_gauges_follow_what_they_measure(world, monitor):
    await world.healthy()
    job = await world.put()
    await world.wait_in("crawl", job)
    assert 'job_queue_depth{queue="crawl",state="waiting_medium"} 1.0' in await lines(monitor)
    await world.queue.remove("crawl", [job.id])

    async def followed() -> bool:
        return 'job_queue_depth{queue="crawl",state="waiting_medium"} 0.0' in await lines(monitor)

    await eventually(followed)
