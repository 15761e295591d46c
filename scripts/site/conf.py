"""How Sphinx makes the site. Nothing of it is loaded from elsewhere: no fonts, no scripts, no counters."""

project = "Headrace"
author = "The Headrace authors"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["files/**"]

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["misc.highlighting_failure"]  # a shell session with JSON in it is still best read as a session

html_theme = "furo"
html_title = "Headrace"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_favicon = "static/icon.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#0b5f73", "color-brand-content": "#0b5f73"},
    "dark_css_variables": {"color-brand-primary": "#6fc7dc", "color-brand-content": "#6fc7dc"},
}
pygments_style = "friendly"
pygments_dark_style = "native"
