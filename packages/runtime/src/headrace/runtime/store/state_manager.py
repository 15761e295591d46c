"""`JobStateManager`: the only writer of job state, put together from one part per verb.

Every change is ONE conditional update of one document. All of them wait for a majority, also those that match nothing,
so "matched 0" is a durable fact. A cancelled await does not cancel what the server does, so callers shield state
changes and resolve unknown outcomes by reading.
"""

from __future__ import annotations

from headrace.runtime.store.state_boost import Boosting
from headrace.runtime.store.state_cancel import Cancelling
from headrace.runtime.store.state_claim import Claiming
from headrace.runtime.store.state_insert import Inserting
from headrace.runtime.store.state_orphan import Orphaning
from headrace.runtime.store.state_overdue import Ending
from headrace.runtime.store.state_retire import Retiring
from headrace.runtime.store.state_running import Running
from headrace.runtime.store.state_settle import Settling


class JobStateManager(Inserting, Claiming, Running, Settling, Cancelling, Orphaning, Ending, Boosting, Retiring):
    """All state changes of jobs: submit, claim, save, settle, cancel, and what recovery ends or hands back."""
