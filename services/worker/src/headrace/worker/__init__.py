"""Runs jobs: supervisor, children, executors."""
