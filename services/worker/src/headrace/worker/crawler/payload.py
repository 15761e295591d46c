"""What a crawl job asks for. The model is published as the JSON schema that submissions are checked against."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from headrace.contracts.values import JsonInt
from headrace.worker.crawler.patterns import any_of
from headrace.worker.crawler.urls import MAX_URL_LENGTH, canonical

StartUrl = Annotated[
    str, StringConstraints(min_length=8, max_length=MAX_URL_LENGTH, pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#]")
]
UrlPattern = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class CrawlPayload(BaseModel):
    """Which pages to crawl, how far, and how gently."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start_urls: list[StartUrl] = Field(
        min_length=1, max_length=100, description="Where to start: http or https URLs without user name or password."
    )
    max_pages: JsonInt = Field(
        default=1000, ge=1, le=1_000_000, description="Stop after this many pages were stored with state ok."
    )
    max_depth: JsonInt | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Follow at most this many links in a row from a start URL; 0 takes the start URLs alone, "
        "null follows without limit. A redirect is not a link.",
    )
    same_host: bool = Field(
        default=True,
        description="Stay on the hosts (and ports) of the start URLs. A leading 'www.' and the change from http to "
        "https do not count as another host.",
    )
    include: list[UrlPattern] = Field(
        default_factory=list,
        max_length=20,
        description="Regular expressions without look-around and backreferences; a URL is followed only if one of "
        "them matches the whole of it. Start URLs are always taken.",
    )
    exclude: list[UrlPattern] = Field(
        default_factory=list,
        max_length=20,
        description="Regular expressions without look-around and backreferences; a URL is not followed if one of them "
        "matches the whole of it.",
    )
    per_host_concurrency: JsonInt = Field(
        default=8, ge=1, le=64, description="How many requests to one host may be open at once."
    )
    delay_seconds: float = Field(
        default=0,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="The least time between the starts of two requests to one host, in seconds, fractions too. "
        "The longer one of this and the site's own crawl-delay counts.",
    )
    respect_robots: bool = Field(
        default=True, description="Obey robots.txt, the robots meta tag and header, and rel=nofollow."
    )
    user_agent: str = Field(
        default="headrace-crawler/0.1",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
        description="What the crawler calls itself; the part before the first slash names its group in robots.txt.",
    )
    max_bytes: JsonInt = Field(
        default=2_000_000,
        ge=1024,
        le=8_000_000,
        description="Pages larger than this, counted after decompression, are skipped.",
    )
    timeout_seconds: float = Field(
        default=20,
        ge=0.1,
        le=600,
        allow_inf_nan=False,
        description="The longest time one request may take, in seconds.",
    )
    max_retries: JsonInt = Field(
        default=2,
        ge=0,
        le=10,
        description="How often a page is tried again after a time-out, a broken connection, a 429 or a 5xx.",
    )

    @field_validator("start_urls")
    @classmethod
    def _check_urls(cls, urls: list[str]) -> list[str]:
        for url in urls:
            if canonical(url) is None:
                raise ValueError("every start URL must be a valid http or https URL without user name or password")
        return urls

    @field_validator("include", "exclude")
    @classmethod
    def _check_patterns(cls, patterns: list[str]) -> list[str]:
        if patterns:
            any_of(tuple(patterns))
        return patterns
