"""Tests with the marker `containers` run only where they are asked for: `pytest -m containers`."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave them out of a plain `pytest`: they build images and take minutes."""
    if "containers" in str(config.option.markexpr):
        return
    left_out = [item for item in items if item.get_closest_marker("containers")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
