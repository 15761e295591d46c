"""Many submissions in one request: checked one by one, committed together, each with an answer of its own."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import (
    ApiError,
    IdempotencyInFlightError,
    IdempotencyMismatchError,
    StoreUnavailableError,
)
from headrace.contracts.job import Idempotency
from headrace.runtime.store.job_types import JobType
from headrace.runtime.store.state_manager import JobStateManager
from headrace.runtime.web.auth import Token
from headrace.scheduler.body import JobBody, read_batch_item
from headrace.scheduler.drafts import Draft, make_draft
from headrace.scheduler.intake import Intake, Outcome, Stored
from headrace.scheduler.keys import KeysInFlight
from headrace.scheduler.links import ANSWER_SECONDS, MongoLink
from headrace.scheduler.metrics import SchedulerMetrics
from headrace.scheduler.registry import Registry, unknown_type

BREATH = 100
"""Items that are checked before other requests get a turn."""


@dataclass(frozen=True)
class _Read:
    """An item whose fields are right."""

    index: int
    body: JobBody
    key: str | None


class BatchSubmitter:
    """The same steps as `Submitter`, for many: validate → look the keys up → bound, insert and enqueue."""

    def __init__(
        self,
        *,
        config: JobConfig,
        registry: Registry,
        intake: Intake,
        states: JobStateManager,
        mongo: MongoLink,
        keys: KeysInFlight,
        metrics: SchedulerMetrics,
    ) -> None:
        self._config = config
        self._registry = registry
        self._intake = intake
        self._states = states
        self._mongo = mongo
        self._keys = keys
        self._metrics = metrics

    async def submit(self, items: Sequence[bytes], *, token: Token) -> list[Outcome]:
        """Store what can be stored; one outcome per item, in order. To be run to its end, whoever waits for it.

        Args:
            items: Each the JSON text of a job.
            token: Who submits.
        """
        outcomes: dict[int, Outcome] = {}
        drafts = await self._check(await self._read(items, outcomes), token, outcomes)
        plain = {index: draft for index, draft in drafts.items() if draft.idempotency is None}
        if len(plain) == len(drafts):
            outcomes |= await self.store(plain)
        else:
            keyed = {index: draft for index, draft in drafts.items() if draft.idempotency is not None}
            await self._store_once(keyed, plain, token.name, outcomes)
        self._count(drafts, outcomes)
        return [outcomes[index] for index in range(len(items))]

    async def _read(self, items: Sequence[bytes], outcomes: dict[int, Outcome]) -> list[_Read]:
        found = []
        for index, raw in enumerate(items):
            if index % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            try:
                body, key = read_batch_item(raw, payload_limit_bytes=self._config.payload_limit_bytes)
            except ApiError as error:
                outcomes[index] = error
            else:
                found.append(_Read(index, body, key))
        return found

    async def _check(self, items: Sequence[_Read], token: Token, outcomes: dict[int, Outcome]) -> dict[int, Draft]:
        try:
            types = await self._registry.find_all({item.body.fields.type for item in items})
        except StoreUnavailableError as error:
            outcomes |= {item.index: StoreUnavailableError(error.detail, retry_after_seconds=2) for item in items}
            return {}
        drafts = {}
        for count, item in enumerate(items):
            if count % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            try:
                drafts[item.index] = self._draft(item, types, token)
            except ApiError as error:
                outcomes[item.index] = error
        return drafts

    def _draft(self, item: _Read, types: Mapping[str, JobType], token: Token) -> Draft:
        job_type = types.get(item.body.fields.type)
        if job_type is None:
            raise unknown_type()
        self._registry.check(job_type, item.body.payload)
        key = item.key
        return make_draft(
            item.body.fields,
            item.body.payload,
            job_type=job_type,
            config=self._config,
            token=token,
            idempotency=None if key is None else Idempotency(scope=token.name, key=key, digest=item.body.digest()),
        )

    async def store(self, drafts: Mapping[int, Draft]) -> dict[int, Outcome]:
        """Store drafts, at most a thousand, in one commit per pool; one outcome for each."""
        outcomes: dict[int, Outcome] = {}
        pools: defaultdict[str, list[int]] = defaultdict(list)
        for index, draft in drafts.items():
            pools[draft.pool].append(index)
        answers = await asyncio.gather(
            *(self._intake.submit_together([drafts[index] for index in part]) for part in pools.values())
        )
        for part, found in zip(pools.values(), answers, strict=True):
            outcomes.update(zip(part, found, strict=True))
        return outcomes

    async def _store_once(
        self, drafts: Mapping[int, Draft], plain: Mapping[int, Draft], scope: str, outcomes: dict[int, Outcome]
    ) -> None:
        """Store drafts with keys, and with them those without.

        Of several with one key the first counts, and the others are its repeats.
        """
        first: dict[str, int] = {}
        for index, draft in drafts.items():
            first.setdefault(_key(draft), index)
        async with self._keys.turns(scope, first) as held:
            answers: dict[str, Outcome] = {key: _in_flight() for key in first if key not in held}
            try:
                # Before any limit is judged: a repeat of an accepted job must not hear that the queue is full.
                known = await self._mongo.read(lambda: self._states.find_by_keys(scope, held), seconds=ANSWER_SECONDS)
            except StoreUnavailableError as error:
                answers |= {key: StoreUnavailableError(error.detail, retry_after_seconds=2) for key in held}
            else:
                answers |= {key: Stored(job, created=False) for key, job in known.items()}
            new = {first[key]: drafts[first[key]] for key in first if key not in answers}
            outcomes |= await self.store({**plain, **new})
            answers |= {_key(draft): outcomes[index] for index, draft in new.items()}
        for index, draft in drafts.items():
            outcomes[index] = _for_repeat(answers[_key(draft)], draft, is_first=first[_key(draft)] == index)

    def _count(self, drafts: Mapping[int, Draft], outcomes: Mapping[int, Outcome]) -> None:
        refused: Counter[str] = Counter()
        created: Counter[tuple[str, str]] = Counter()
        for index, outcome in outcomes.items():
            if not isinstance(outcome, Stored):
                refused[outcome.code] += 1
            elif outcome.created:
                draft = drafts[index]
                created[draft.pool, draft.fields.type] += 1
        for code, number in refused.items():
            self._metrics.refused.labels(code).inc(number)
        for labels, number in created.items():
            self._metrics.enqueued.labels(*labels).inc(number)


def _key(draft: Draft) -> str:
    assert draft.idempotency is not None, "only drafts with a key come here"
    return draft.idempotency.key


def _for_repeat(outcome: Outcome, draft: Draft, *, is_first: bool) -> Outcome:
    if not isinstance(outcome, Stored) or (is_first and outcome.created):
        return outcome
    asked, before = draft.idempotency, outcome.job.idempotency
    if asked is None or before is None or before.digest != asked.digest:
        return IdempotencyMismatchError("this idempotency key was used before with another body")
    return Stored(outcome.job, created=False)


def _in_flight() -> IdempotencyInFlightError:
    return IdempotencyInFlightError(
        "the first request with this key is still under way; repeat it in a moment", retry_after_seconds=1
    )
