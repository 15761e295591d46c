"""The hot index: waiting job ids in Redis, in the order of their claim. The only package that speaks Redis.

Redis holds ids and numbers, never payloads, and is never the truth: whatever it loses, forgets or makes up is mended
from the job documents (`headrace.runtime.store`).
"""

from __future__ import annotations

from headrace.runtime.queue.base import (
    Claim,
    Depths,
    Entry,
    InFlight,
    JobQueue,
    Located,
    Reservation,
    SetName,
    Verdict,
)
from headrace.runtime.queue.client import redis_client
from headrace.runtime.queue.event_rows import EventId, EventRow
from headrace.runtime.queue.event_sender import EventSender
from headrace.runtime.queue.hints import Hints
from headrace.runtime.queue.history import EventLog, EventPage
from headrace.runtime.queue.keys import Keys
from headrace.runtime.queue.limiter import RateLimiter, RateState
from headrace.runtime.queue.redis_queue import RedisJobQueue

__all__ = [
    "Claim",
    "Depths",
    "Entry",
    "EventId",
    "EventLog",
    "EventPage",
    "EventRow",
    "EventSender",
    "Hints",
    "InFlight",
    "JobQueue",
    "Keys",
    "Located",
    "RateLimiter",
    "RateState",
    "RedisJobQueue",
    "Reservation",
    "SetName",
    "Verdict",
    "redis_client",
]
