"""Submissions that are refused: the right problem, the field and the rule, never the value, and nothing kept."""

from __future__ import annotations

import json

SECRET = "canary-5f1"


NOT_JSON = [
    b"",
    b"{",
    b"nope",
    b'{"type": "any", "payload": NaN}',
    b'{"type": "any", "payload": -Infinity}',
    b'{"type": "any", "payload": 01}',
    b'{"type": "any", "payload": 1,}',
    b'{"type": "any", "payload": 1} {}',
    b'{"type": "any", "payload": "\xff"}',
    b'{"type": "any", "payload": "\\ud800"}',
    b'\xef\xbb\xbf{"type": "any", "payload": 1}',
]


async def test_what_is_no_json_is_malformed(api, subtests):
    for raw in NOT_JSON:
        with subtests.test(repr((raw,))[:80]):
            await api.problem(await api.post(raw=raw), 400, "malformed-json")
            assert await api.count() == 0


MEDIA_TYPES = [
    {"Content_Type": "text/plain"},
    {"Content_Type": "application/x-www-form-urlencoded"},
    {"Content_Type": "application/json; charset=latin-1"},
    {"Content_Encoding": "br"},
]


async def test_only_plain_json_is_taken(api, subtests):
    for headers in MEDIA_TYPES:
        with subtests.test(repr((headers,))[:80]):
            await api.problem(
                await api.post(raw=b'{"type": "any", "payload": 1}', **headers), 415, "unsupported-media-type"
            )


async def test_a_body_above_one_mebibyte_is_too_large(api):
    raw = b'{"type": "any", "payload": "%s"}' % (b"x" * 1024 * 1024)
    await api.problem(await api.post(raw=raw), 413, "too-large")


async def test_a_payload_is_measured_as_compact_json(make_api, config):
    api = await make_api(config.model_copy(update={"payload_limit_bytes": 1024}))
    fits = b'{"type": "any", "payload": [ %s "%s" ]}' % (b" " * 5000, b"x" * 1020)
    assert (await api.post(raw=fits)).status == 201
    over = b'{"type": "any", "payload": ["%s"]}' % (b"x" * 1021)
    await api.problem(await api.post(raw=over), 413, "too-large")


BROKEN_RULES = [
    ([], "", "model_type"),
    (3, "", "model_type"),
    ({"payload": 1}, "/type", "missing"),
    ({"type": "any"}, "/payload", "missing"),
    ({"type": 5, "payload": 1}, "/type", "string_type"),
    ({"type": "", "payload": 1}, "/type", "string_too_short"),
    ({"type": {"$ne": None}, "payload": 1}, "/type", "string_type"),
    ({"type": "any", "payload": 1, "state": "completed"}, "/state", "extra_forbidden"),
    ({"type": "any", "payload": 1, "tenant": SECRET}, "/tenant", "extra_forbidden"),
    ({"type": "any", "payload": 1, "a/b~": SECRET}, "/a~1b~0", "extra_forbidden"),
    ({"type": "any", "payload": 1, "priority": SECRET}, "/priority", "enum"),
    ({"type": "any", "payload": 1, "priority": 0}, "/priority", "enum"),
    ({"type": "any", "payload": 1, "delay_seconds": -1}, "/delay_seconds", "greater_than_equal"),
    ({"type": "any", "payload": 1, "delay_seconds": "5"}, "/delay_seconds", "float_type"),
    ({"type": "any", "payload": 1, "delay_seconds": 1e12}, "/delay_seconds", "less_than_equal"),
    ({"type": "any", "payload": 1, "run_at": 0}, "/run_at", "datetime_type"),
    ({"type": "any", "payload": 1, "run_at": "0"}, "/run_at", "value_error"),
    ({"type": "any", "payload": 1, "run_at": "2030-01-01T00:00:00"}, "/run_at", "value_error"),
    ({"type": "any", "payload": 1, "run_at": "2030-02-30T00:00:00Z"}, "/run_at", "value_error"),
    ({"type": "any", "payload": 1, "run_at": "0001-01-01T00:00:00+14:00"}, "/run_at", "value_error"),
    ({"type": "any", "payload": 1, "run_at": "9999-12-31T23:59:59Z"}, "/run_at", "too_late"),
    ({"type": "any", "payload": 1, "timeout_seconds": 0}, "/timeout_seconds", "greater_than_equal"),
    ({"type": "any", "payload": 1, "timeout_seconds": 604801}, "/timeout_seconds", "less_than_equal"),
    ({"type": "any", "payload": 1, "timeout_seconds": 1.5}, "/timeout_seconds", "int_type"),
    ({"type": "any", "payload": 1, "timeout_seconds": True}, "/timeout_seconds", "int_type"),
    ({"type": "any", "payload": 1, "max_retries": 101}, "/max_retries", "less_than_equal"),
    ({"type": "any", "payload": 1, "expires_in_seconds": 0}, "/expires_in_seconds", "greater_than"),
    ({"type": "any", "payload": 1, "unique_key": ""}, "/unique_key", "string_too_short"),
    ({"type": "any", "payload": 1, "unique_key": {"$gt": ""}}, "/unique_key", "string_type"),
    ({"type": "any", "payload": 1, "tags": {"team": 5}}, "/tags/team", "string_type"),
    ({"type": "any", "payload": 1, "tags": {"$where": SECRET}}, "/tags/$where/[key]", "string_pattern_mismatch"),
    (
        {"type": "any", "payload": 1, "delay_seconds": 5, "run_at": "2030-01-01T00:00:00Z"},
        "",
        "value_error",
    ),
]


async def test_a_broken_rule_is_told_with_its_field(api, subtests):
    for body, pointer, code in BROKEN_RULES:
        with subtests.test(
            repr(
                (
                    body,
                    pointer,
                    code,
                )
            )[:80]
        ):
            problem = await api.problem(await api.post(body), 422, "validation")
            assert [(item["in"], item["pointer"], item["code"]) for item in problem["errors"]] == [
                ("body", pointer, code)
            ]
            assert problem["errors"][0]["detail"]
            assert SECRET not in json.dumps(problem)
            assert await api.count() == 0


async def test_numbers_of_thousands_of_digits_outside_of_the_payload_are_refused(api):
    raw = b'{"type": "any", "payload": 1, "timeout_seconds": %s}' % (b"9" * 5000)
    problem = await api.problem(await api.post(raw=raw), 422, "validation")
    assert problem["errors"][0]["code"] == "number_too_long"


DEPTHS = [65, 100, 100_000]


async def test_a_payload_of_more_than_64_levels_is_refused(api, subtests):
    for levels in DEPTHS:
        with subtests.test(repr((levels,))[:80]):
            raw = b'{"type": "any", "payload": %s%s}' % (b"[" * levels, b"]" * levels)
            problem = await api.problem(await api.post(raw=raw), 422, "validation")
            assert problem["errors"][0]["code"] == "too_deep"


async def test_an_unknown_type_is_refused_without_naming_it(api):
    problem = await api.problem(await api.post({"type": SECRET, "payload": 1}), 422, "unknown-job-type")
    assert SECRET not in json.dumps(problem)
    assert await api.count() == 0


MISFITS = [
    ({"n": -1}, "/payload/n", "minimum", "the value is less than the minimum of 0"),
    ({"n": SECRET}, "/payload/n", "type", 'the value is not of type "integer"'),
    ({"x": SECRET}, "/payload/x", "type", 'the value is not of type "number"'),
    ({"word": [SECRET]}, "/payload/word", "type", 'the value is not of type "string"'),
    ({"other": SECRET}, "/payload/other", "additionalProperties", "this field is not known"),
    ([SECRET], "/payload", "type", 'the value is not of type "object"'),
    (None, "/payload", "type", 'the value is not of type "object"'),
]


async def test_a_payload_that_does_not_fit_its_type_is_told_where(api, subtests):
    for payload, pointer, code, detail in MISFITS:
        with subtests.test(
            repr(
                (
                    payload,
                    pointer,
                    code,
                    detail,
                )
            )[:80]
        ):
            problem = await api.problem(await api.post({"type": "echo", "payload": payload}), 422, "invalid-payload")
            assert problem["errors"] == [{"in": "body", "pointer": pointer, "code": code, "detail": detail}]
            assert SECRET not in json.dumps(problem)
            assert await api.count() == 0


NUMBERS = [
    ('{"n": 123456789012345678901234567890}', 201),
    ('{"n": -123456789012345678901234567890}', 422),
    ('{"n": 1e400}', 201),
    ('{"x": 1e400}', 201),
    ('{"x": -1e400}', 201),
    ('{"n": 1.5}', 422),
    ('{"n": 2.0}', 201),
    ('{"n": %s}' % ("7" * 5000), 201),
    ('{"n": -%s}' % ("7" * 5000), 422),
]


async def test_numbers_beyond_doubles_are_judged_by_the_schema_as_numbers(api, subtests):
    for payload, status in NUMBERS:
        with subtests.test(
            repr(
                (
                    payload,
                    status,
                )
            )[:80]
        ):
            response = await api.post(raw=b'{"type": "echo", "payload": %s}' % payload.encode())
            assert response.status == status, await response.text()


async def test_the_query_and_repeated_headers_are_refused(api):
    response = await api.client.post("/v1/jobs?priority=high", json={"type": "any", "payload": 1})
    problem = await api.problem(response, 422, "validation")
    assert problem["errors"][0]["in"] == "query"
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    response = await api.client.post("/v1/jobs", json={"type": "any", "payload": 1}, headers=headers)
    problem = await api.problem(response, 422, "validation")
    assert problem["errors"][0]["in"] == "header"


BAD_KEYS = ["", "x" * 201, "two words", "\u00e9"]


async def test_a_key_must_be_printable_and_short(api, subtests):
    for key in BAD_KEYS:
        with subtests.test(repr((key,))[:80]):
            response = await api.post({"type": "any", "payload": 1}, Idempotency_Key=key)
            problem = await api.problem(response, 422, "validation")
            assert problem["errors"][0]["pointer"] == "/Idempotency-Key"


async def test_other_methods_and_paths_are_told_as_problems(api):
    problem_response = await api.client.delete("/v1/jobs")
    assert problem_response.headers["Allow"] == "GET, HEAD, POST"
    await api.problem(problem_response, 405, "method-not-allowed")
    await api.problem(await api.client.get("/v1/nothing"), 404, "not-found")
