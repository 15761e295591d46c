"""Builders, waiting helpers and executors for tests of Headrace and of its plug-ins."""
