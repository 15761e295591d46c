"""A crawl is refused early when it cannot be meant."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from headrace.worker.crawler.payload import CrawlPayload

START = ["http://example.org/"]


@pytest.mark.parametrize(
    "fields",
    [
        {"start_urls": []},
        {"start_urls": START * 101},
        {"start_urls": ["ftp://example.org/"]},
        {"start_urls": ["http://user:secret@example.org/"]},
        {"start_urls": ["http://[bad/"]},
        {"start_urls": ["/relative"]},
        {"max_pages": 0},
        {"max_pages": 1_000_001},
        {"max_pages": 1.5},
        {"max_depth": -1},
        {"max_depth": 101},
        {"include": ["("]},
        {"exclude": ["x" * 501]},
        {"exclude": ["a"] * 21},
        {"per_host_concurrency": 65},
        {"delay_seconds": -1},
        {"delay_seconds": float("nan")},
        {"user_agent": "a\r\nX-Other: b"},
        {"user_agent": ""},
        {"max_bytes": 10},
        {"timeout_seconds": 0},
        {"max_retries": -1},
        {"unknown": 1},
    ],
)
def test_a_field_that_breaks_its_rule_is_refused(fields):
    with pytest.raises(ValidationError) as refusal:
        CrawlPayload(**{"start_urls": START} | fields)

    assert next(iter(fields)) in {error["loc"][0] for error in refusal.value.errors()}


def test_the_defaults_are_those_of_the_documentation():
    payload = CrawlPayload(start_urls=START, max_pages=9.0)

    assert (payload.max_pages, payload.max_depth, payload.same_host, payload.per_host_concurrency) == (9, None, True, 8)
    assert (payload.delay_seconds, payload.max_bytes, payload.timeout_seconds, payload.max_retries) == (
        0,
        2_000_000,
        20,
        2,
    )
    assert payload.user_agent == "headrace-crawler/0.1"


def test_every_field_is_described_in_the_published_schema():
    schema = CrawlPayload.model_json_schema()

    assert schema["required"] == ["start_urls"]
    assert all(field.get("description") for field in schema["properties"].values())
