"""One page, one spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.worker.crawler.urls import MAX_URL_LENGTH, canonical, host_of, origin_of


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("HTTP://Example.ORG", "http://example.org/"),
        ("http://example.org:80/a", "http://example.org/a"),
        ("https://example.org:443/a", "https://example.org/a"),
        ("http://example.org:8080/a", "http://example.org:8080/a"),
        ("http://example.org/a/./b/../c", "http://example.org/a/c"),
        ("http://example.org/a#frag", "http://example.org/a"),
        ("http://example.org/?b=2&a=1", "http://example.org/?b=2&a=1"),
        ("http://example.org/?", "http://example.org/"),
        ("http://example.org/%7ea%2fb", "http://example.org/~a%2Fb"),
        ("http://example.org/Case", "http://example.org/Case"),
        ("http://example.org/a b", "http://example.org/a%20b"),
        ("http://example.org/caf\u00e9?q=\u00e9", "http://example.org/caf%C3%A9?q=%C3%A9"),
        (" http://example.org/a\n", "http://example.org/a"),
        ("http://b\u00fccher.example/", "http://xn--bcher-kva.example/"),
        ("http://[2001:DB8::1]:8080/", "http://[2001:db8::1]:8080/"),
    ],
)
def test_a_url_has_one_spelling(written, spelled):
    assert canonical(written) == spelled
    assert canonical(spelled) == spelled


@pytest.mark.parametrize(
    "written",
    [
        "",
        "mailto:a@b",
        "ftp://example.org/",
        "javascript:alert(1)",
        "http://",
        "http:///x",
        "http://user:pass@example.org/",
        "http://user@example.org/",
        "http://[bad/",
        "http://example.org:99999/",
        "http://example.org:x/",
        "http://" + "a" * 70 + ".\u00e9/",
        "http://example.org/" + "a" * MAX_URL_LENGTH,
        "http://example.org/" + "\u00e9" * 500,
    ],
)
def test_what_cannot_be_fetched_has_none(written):
    assert canonical(written) is None


def test_a_query_keeps_the_encoding_of_its_page_where_it_can():
    assert canonical("?q=\u00e9", base="http://e.org/", encoding="iso-8859-1") == "http://e.org/?q=%E9"
    assert canonical("?q=\u4e2d", base="http://e.org/", encoding="iso-8859-1") == "http://e.org/?q=%E4%B8%AD"


def test_a_malformed_reference_is_no_link():
    assert canonical("http://[x", base="http://e.org/") is None
    assert canonical("//[x/", base="http://e.org/") is None


def test_host_and_origin_keep_the_port():
    assert host_of("http://e.org:81/a/b") == "e.org:81"
    assert origin_of("https://e.org:81/a?b/c") == "https://e.org:81"


@given(st.text(max_size=60))
def test_no_reference_raises_and_spelling_twice_changes_nothing(href):
    url = canonical(href, base="http://e.org/dir/")

    assert url is None or canonical(url) == url
