"""Python client and command line of Headrace."""

from headrace.client.aio import Client
from headrace.client.transport import NotReachableError

__all__ = ["Client", "NotReachableError"]
