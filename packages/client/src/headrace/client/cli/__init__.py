"""The command line `headrace`. Needs the extra `cli`."""
