"""Read one HTML page: title, text, links, and what it asks of robots."""

from __future__ import annotations

from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser
from w3lib.encoding import html_to_unicode

from headrace.worker.crawler.urls import canonical

MAX_LINKS = 5000
"""Links kept of one page; with `MAX_URL_LENGTH` this keeps a stored document under MongoDB's 16 MB."""
MAX_TEXT = 4_000_000
MAX_FIELD = 1000
_SILENT = ["script", "style", "noscript", "template"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a page says. `links` are canonical and already without those that robots must not follow."""

    title: str | None
    description: str | None
    canonical: str | None
    encoding: str
    text: str
    links: tuple[str, ...]
    noindex: bool


def read_page(
    body: bytes, *, url: str, content_type: str, robots_header: str = "", agent: str | None = None
) -> Reading:
    """Parse a page. Pure and blocking: about 5 ms for a common page.

    Args:
        body: The bytes, decompressed.
        url: Where it came from; relative links start there unless the page names a base.
        content_type: The header, for its charset; "" when there was none.
        robots_header: All `X-Robots-Tag` headers, joined by commas.
        agent: The crawler's name in lower case when robots rules are obeyed, None when not.
    """
    encoding, html = html_to_unicode(content_type or None, body, auto_detect_fun=_guess_encoding)
    tree = LexborHTMLParser(html)
    metas = {
        (node.attributes.get("name") or "").strip().lower(): node.attributes.get("content") or ""
        for node in tree.css("meta[name]")
    }
    rules = _robots_rules(robots_header, metas, agent)
    base_node = tree.css_first("base[href]")
    base = (base_node and canonical(base_node.attributes.get("href") or "", base=url)) or url
    canonical_node = tree.css_first('link[rel~="canonical" i][href]')
    links = () if "nofollow" in rules else _links(tree, base, encoding, obey=agent is not None)
    title = tree.css_first("title")
    return Reading(
        title=_field(title.text()) if title else None,
        description=_field(metas.get("description", "")),
        canonical=canonical(canonical_node.attributes.get("href") or "", base=base) if canonical_node else None,
        encoding=encoding,
        text=_text(tree),
        links=links,
        noindex="noindex" in rules,
    )


def _guess_encoding(body: bytes) -> str:
    # Nobody named one that exists. UTF-8 text of another encoding is next to impossible by chance.
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _links(tree: LexborHTMLParser, base: str, encoding: str, *, obey: bool) -> tuple[str, ...]:
    # Raw first, then canonical: pages repeat their hrefs, and spelling one is the expensive part.
    raw: dict[str, None] = {}
    for node in tree.css("a[href], area[href]"):
        attributes = node.attributes
        if obey and "nofollow" in (attributes.get("rel") or "").lower().split():
            continue
        raw[(attributes.get("href") or "").partition("#")[0]] = None
    found: dict[str, None] = {}
    for href in raw:
        url = canonical(href, base=base, encoding=encoding)
        if url is not None:
            found[url] = None
        if len(found) >= MAX_LINKS:
            break
    return tuple(found)


def _robots_rules(header: str, metas: dict[str, str], agent: str | None) -> set[str]:
    if agent is None:
        return set()
    rules: set[str] = set()
    for text in (_header_for(header, agent), metas.get("robots", ""), metas.get(agent, "")):
        rules |= {word.strip().lower() for word in text.split(",")}
    return rules | {"noindex", "nofollow"} if "none" in rules else rules


def _header_for(header: str, agent: str) -> str:
    # "otherbot: noindex" speaks to otherbot alone, and so do the rules after it up to the next name.
    kept, speaks_to_us = [], True
    for word in header.split(","):
        name, colon, rule = word.partition(":")
        if colon and name.strip().lower() != "unavailable_after":
            speaks_to_us, word = name.strip().lower() in {agent, "*"}, rule  # noqa: PLW2901  -- the rule without its name
        if speaks_to_us:
            kept.append(word)
    return ",".join(kept)


def _text(tree: LexborHTMLParser) -> str:
    tree.strip_tags(_SILENT)
    return " ".join(tree.body.text(separator=" ").split())[:MAX_TEXT] if tree.body else ""


def _field(text: str) -> str | None:
    return " ".join(text.split())[:MAX_FIELD] or None
