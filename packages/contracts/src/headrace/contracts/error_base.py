"""The root of the errors, and the one that belongs to no request."""

from __future__ import annotations


class HeadraceError(Exception):
    """The root of everything Headrace raises on purpose."""


class ConfigError(HeadraceError):
    """A setting is missing, unknown or wrong. The message names it and the rule."""
