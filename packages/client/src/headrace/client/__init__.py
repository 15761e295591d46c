"""Python client and command line of Headrace."""

from headrace.client.aio import Client
from headrace.client.blocking import SyncClient
from headrace.client.events import Event
from headrace.client.submission import Submission, SubmitOptions
from headrace.client.transport import NotReachableError

__all__ = ["Client", "Event", "NotReachableError", "Submission", "SubmitOptions", "SyncClient"]
