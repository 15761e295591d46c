"""Admits jobs over HTTP: priority, bound, durability."""
