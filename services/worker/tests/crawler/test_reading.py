"""What is read out of one page."""

from __future__ import annotations

import pytest

from headrace.worker.crawler.html import MAX_LINKS, read_page

URL = "http://site.example/dir/page"


def read(html, *, content_type="text/html", **rest):
    body = html.encode() if isinstance(html, str) else html
    return read_page(body, url=URL, content_type=content_type, **rest)


def test_title_description_canonical_and_text_are_read_without_scripts():
    page = read(
        "<title> A\n title </title><meta name=Description content=' About  it '><link rel='canonical' href='/real'>"
        "<style>x</style><p>One<b>two</b></p><script>var hidden</script><template>no</template><p>three"
    )

    assert (page.title, page.description, page.canonical) == ("A title", "About it", "http://site.example/real")
    assert page.text == "One two three"


@pytest.mark.parametrize("html", ["", "   ", "\0\0", "<", "<p", "<title></title>", "no markup at all"])
def test_odd_documents_are_read_without_an_error(html):
    assert read(html).links == ()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("café".encode(), "text/html; charset=utf-8"),
        ("café".encode("latin-1"), "text/html; charset=ISO-8859-1"),
        (b"\xef\xbb\xbf" + "café".encode(), "text/html; charset=iso-8859-1"),
        (b'<meta charset="iso-8859-1">' + "café".encode("latin-1"), "text/html"),
        (b'<meta http-equiv="content-type" content="text/html; charset=latin1">' + b"caf\xe9", ""),
        ("café".encode(), "text/html"),
        ("café".encode("cp1252"), "text/html"),
        ("café".encode(), "text/html; charset=no-such-name"),
        (b'<meta charset="bogus">' + "café".encode(), "text/html; charset=also-bogus"),
        ("café".encode("utf-16"), "text/html"),
    ],
)
def test_the_charset_comes_from_mark_header_meta_or_the_bytes(body, content_type):
    assert read(body, content_type=content_type).text == "café"


def test_a_wrong_charset_costs_letters_but_not_the_page():
    page = read("<a href=/x>café</a>".encode("latin-1"), content_type="text/html; charset=utf-8")

    assert page.links == ("http://site.example/x",)


def test_links_are_resolved_against_the_base_and_kept_once_in_order():
    page = read(
        "<base href='../other/'><a href='b'>1</a><a href=a#x>2</a><a href=a#y>3</a><map><area href='?q=1'></map>"
    )

    assert page.links == tuple(f"http://site.example/other/{rest}" for rest in ("b", "a", "?q=1"))


def test_a_bad_base_is_ignored():
    assert read("<base href='ftp://x/'><a href=a>1</a>").links == ("http://site.example/dir/a",)


def test_the_number_of_links_is_bounded():
    assert len(read("".join(f"<a href=/{n}>" for n in range(MAX_LINKS + 10))).links) == MAX_LINKS


@pytest.mark.parametrize(
    ("header", "meta", "noindex", "follows"),
    [
        ("", "", False, True),
        ("noindex", "", True, True),
        ("", "none", True, False),
        ("NOFOLLOW, noarchive", "", False, False),
        ("otherbot: noindex, nofollow", "", False, True),
        ("otherbot: none, us: noindex", "", True, True),
        ("unavailable_after: 25 Jun 2030 15:00:00 GMT, noindex", "", True, True),
        ("", "all", False, True),
    ],
)
def test_robots_rules_of_header_and_meta(header, meta, noindex, follows):
    page = read(f"<meta name=robots content='{meta}'><a href=/x>x</a>", robots_header=header, agent="us")

    assert page.noindex is noindex
    assert bool(page.links) is follows


def test_a_meta_tag_in_our_own_name_counts():
    html = "<meta name=us content=nofollow><a href=/x>x</a>"

    assert read(html, agent="us").links == ()
    assert read(html, agent="them").links != ()
    assert read(html, agent=None).links != ()
