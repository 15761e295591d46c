"""How the page of the documentation looks: readable in light and dark, on a phone, and on paper."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--line:#8886;--soft:#8881}
body{font:1rem/1.5 system-ui,sans-serif;max-width:70rem;margin:auto;padding:1rem}
h1{font-size:1.6rem}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}
h3{margin-top:2rem;overflow-wrap:anywhere}
nav ul{list-style:none;padding-left:1rem}nav>ul{padding:0;columns:22rem}nav li{break-inside:avoid}
code{background:var(--soft);padding:.1em .3em;border-radius:.2em;overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;margin:.5rem 0}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid var(--line)}
"""
