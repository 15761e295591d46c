"""Brings Redis and MongoDB back together after any fault."""
