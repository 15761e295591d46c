"""Headrace on embedded real stores, in one command."""
