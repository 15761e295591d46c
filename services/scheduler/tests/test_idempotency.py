"""One job per key and token, whatever is repeated, at once or later."""

from __future__ import annotations

import asyncio

BODY = {"type": "any", "payload": {"b": [1, 2], "a": 1.5}, "tags": {"x": "1", "y": "2"}}


async def test_a_repeat_is_answered_with_the_stored_job(api):
    first = await api.post(BODY, Idempotency_Key="k-1")
    again = await api.post(BODY, Idempotency_Key="k-1")
    assert (first.status, again.status) == (201, 200)
    assert await first.json() == await again.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert await api.count() == 1


async def test_white_space_and_the_order_of_fields_are_no_difference(api):
    first = b'{"type":"any","payload":{"b":[1,2],"a":1.5},"tags":{"x":"1","y":"2"}}'
    same = b'{ "tags": {"y": "2", "x": "1"}, "payload": {"a": 1.5, "b": [1, 2]}, "type": "\\u0061ny" }'
    assert (await api.post(raw=first, Idempotency_Key="k")).status == 201
    assert (await api.post(raw=same, Idempotency_Key="k")).status == 200


async def test_another_body_under_the_same_key_is_refused(api):
    assert (await api.post(raw=b'{"type":"any","payload":{"a":1.5}}', Idempotency_Key="k")).status == 201
    for other in (
        b'{"type":"any","payload":{"a":1.50}}',
        b'{"type":"any","payload":{"a":"1.5"}}',
        b'{"type":"any","payload":{"a":{"\\u0000number":"1.5","b":0}}}',
        b'{"type":"any","payload":{"a":1.5},"priority":"medium"}',
        b'{"type":"any","payload":{"a":%s}}' % (b"1" * 5000),
    ):
        await api.problem(await api.post(raw=other, Idempotency_Key="k"), 422, "idempotency-mismatch")
    assert await api.count() == 1


async def test_sixteen_requests_at_once_make_one_job(api):
    responses = await asyncio.gather(*(api.post(BODY, Idempotency_Key="k") for _ in range(16)))
    assert sorted(response.status for response in responses) == [200] * 15 + [201]
    assert len({(await response.json())["id"] for response in responses}) == 1
    assert await api.count() == 1


async def test_two_schedulers_make_one_job_and_free_the_place_of_the_other(make_api, config):
    one, other = await make_api(config), await make_api(config)
    await one.complete()
    for key in map(str, range(10)):
        responses = await asyncio.gather(*(api.post(BODY, Idempotency_Key=key) for api in (one, other) * 4))
        assert sorted(response.status for response in responses) == [200] * 7 + [201]
    assert await one.count() == 10


async def test_two_bodies_at_once_under_one_key_make_one_job(make_api, config):
    one, other = await make_api(config), await make_api(config)
    bodies = [BODY | {"payload": n} for n in range(8)]
    asked = [(one, other)[n % 2].post(body, Idempotency_Key="k") for n, body in enumerate(bodies)]
    responses = await asyncio.gather(*asked)
    assert sorted(response.status for response in responses) == [201] + [422] * 7
    assert await one.count() == 1


async def test_places_of_repeats_come_back(make_api, config, queue):
    one, other = await make_api(config), await make_api(config)
    await one.complete()
    for key in map(str, range(10)):
        await asyncio.gather(*(api.post(BODY, Idempotency_Key=key) for api in (one, other)))
    depths = await queue.depths("default")
    assert (depths.reserved, depths.waiting["medium"]) == (0, 10)


async def test_a_key_belongs_to_its_token(make_api, config, tokens_file):
    api = await make_api(config.model_copy(update={"api_tokens_file": tokens_file}))
    for name in ("submitter", "other-submitter", "red", "blue"):
        response = await api.post(BODY, Idempotency_Key="k", **api.bearer(name))
        assert response.status == 201
    assert await api.count() == 4


async def test_a_repeat_is_answered_even_though_the_queue_is_full_by_now(make_api, config):
    api = await make_api(config.model_copy(update={"queue_size_limit": 1}))
    await api.complete()
    assert (await api.post(BODY, Idempotency_Key="k")).status == 201
    await api.problem(await api.post(BODY, Idempotency_Key="other"), 429, "queue-full")
    assert (await api.post(BODY, Idempotency_Key="k")).status == 200


async def test_a_refused_request_leaves_its_key_free(make_api, config):
    api = await make_api(config.model_copy(update={"queue_size_limit": 1}))
    first = await api.submit()
    await api.problem(await api.post(BODY, Idempotency_Key="k"), 429, "queue-full")
    assert (await api.cancel(first["id"])).status == 200
    assert (await api.post(BODY | {"payload": "other"}, Idempotency_Key="k")).status == 201


async def test_a_repeat_while_the_first_is_under_way_is_told_so(api, failpoint):
    failpoint("before_mongo_insert=sleep:1500,once")
    first = asyncio.create_task(api.post(BODY, Idempotency_Key="k"))
    await asyncio.sleep(0.2)
    response = await api.post(BODY, Idempotency_Key="k")
    assert response.headers["Retry-After"] == "1"
    await api.problem(response, 409, "idempotency-in-flight")
    assert (await first).status == 201


async def test_a_unique_key_is_held_until_its_job_is_over(api):
    first = await api.submit(unique_key="u")
    problem = await api.problem(await api.post({"type": "any", "payload": 1, "unique_key": "u"}), 409, "duplicate-job")
    assert problem["id"] == first["id"]
    assert (await api.post({"type": "echo", "payload": {}, "unique_key": "u"})).status == 201
    assert (await api.cancel(first["id"])).status == 200
    assert (await api.submit(unique_key="u"))["id"] != first["id"]


async def test_a_held_unique_key_fails_no_neighbour_of_its_batch(api, queue):
    await api.complete()
    await api.submit(unique_key="u")
    bodies = [{"type": "any", "payload": n, "unique_key": "u" if n % 2 else None} for n in range(20)]
    responses = await asyncio.gather(*(api.post(body) for body in bodies))
    assert [response.status for response in responses] == [201, 409] * 10
    assert (await queue.depths("default")).reserved == 0


async def test_unique_keys_of_tenants_do_not_meet(make_api, config, tokens_file):
    api = await make_api(config.model_copy(update={"api_tokens_file": tokens_file}))
    for name in ("red", "blue"):
        response = await api.post({"type": "any", "payload": 1, "unique_key": "u"}, **api.bearer(name))
        assert response.status == 201
