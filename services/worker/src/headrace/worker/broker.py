"""Dramatiq's side: a `Broker` and a `Consumer` over our queue, so that `dramatiq.Worker` runs the jobs as it is.

Messages are made here from claimed jobs and never leave the process; nothing is sent through this broker. There is no
delay queue in memory, no prefetch beyond free threads, and no retry middleware: all of that is state, and state lives
in MongoDB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import dramatiq
from dramatiq.asyncio import EventLoopThread, set_event_loop_thread
from dramatiq.broker import Broker, Consumer, MessageProxy
from dramatiq.message import Message
from dramatiq.middleware import Middleware

from headrace.worker.feed import Feed
from headrace.worker.held import Held

QUEUE = "jobs"
"""Dramatiq's name for the one queue of a child. A child serves one pool, whose name need not fit Dramatiq's rules."""

Done = Callable[[Held], None]


class LoopThread(Middleware):
    """Runs the event loop thread for as long as the worker lives.

    Dramatiq's own AsyncIO middleware wakes every waiting thread ten times a second; a thousand waiting jobs would cost
    four CPU seconds in six. Jobs are stopped on the loop itself here, so the threads need not look.
    """

    def __init__(self, thread: EventLoopThread) -> None:
        self._thread = thread

    def before_worker_boot(self, broker: Broker, worker: dramatiq.Worker) -> None:
        """Start the loop."""
        self._thread.start(timeout=5.0)
        set_event_loop_thread(self._thread)

    def after_worker_shutdown(self, broker: Broker, worker: dramatiq.Worker) -> None:
        """End the loop."""
        set_event_loop_thread(None)
        self._thread.stop()  # type: ignore[no-untyped-call]  # dramatiq leaves it untyped


def to_message(held: Held) -> MessageProxy:
    """A message that carries the held job itself as its only argument."""
    return MessageProxy(Message(QUEUE, held.job.type, (held,), {}, {}, message_id=held.job.id))


class JobBroker(Broker):
    """A broker whose only queue is the feed of claimed jobs.

    Args:
        feed: Where claimed jobs wait.
        run: Runs one job; the body of every actor.
        done: Takes a job whose run has ended; must return at once.
        thread: The event loop thread.
    """

    def __init__(self, *, feed: Feed, run: Callable[[Held], None], done: Done, thread: EventLoopThread) -> None:
        super().__init__(middleware=[LoopThread(thread)])
        self._feed = feed
        self._run = run
        self._done = done
        self.queues = {}

    def declare_types(self, types: Iterable[str]) -> None:
        """Make an actor of each job type."""
        for name in types:
            dramatiq.actor(actor_name=name, queue_name=QUEUE, broker=self)(self._run)

    def declare_queue(self, queue_name: str) -> None:
        """Know a queue; idempotent."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30_000) -> JobConsumer:
        """The consumer of the feed. `prefetch` is not used: free threads are."""
        return JobConsumer(self._feed, self._done, timeout)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Refused: jobs enter through the scheduler, where they become durable.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError("jobs are submitted to the scheduler, not to the worker's broker")


class JobConsumer(Consumer):
    """Hands claimed jobs to Dramatiq's threads and their outcomes to the settler."""

    def __init__(self, feed: Feed, done: Done, timeout_ms: int) -> None:
        self._feed = feed
        self._done = done
        self._timeout_seconds = timeout_ms / 1000

    def __next__(self) -> MessageProxy | None:
        """The next job for a free thread, or None after the time-out."""
        held = self._feed.take(self._timeout_seconds)
        return None if held is None else to_message(held)

    def ack(self, message: MessageProxy) -> None:
        """Hand the outcome on and return at once; the settlement is confirmed elsewhere."""
        held = message.args[0]
        self._feed.done(held)
        self._done(held)

    def nack(self, message: MessageProxy) -> None:
        """The same: how a job ended stands on the job, not in the way its message is given back."""
        self.ack(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Jobs that Dramatiq took and no thread started: they end unstarted, which hands them back."""
        for message in messages:
            self.ack(message)
