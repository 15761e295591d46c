"""Measurements of Headrace on this machine, always beside something to compare with in the same run."""
