"""Python client and command line of Headrace."""
