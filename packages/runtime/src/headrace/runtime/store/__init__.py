"""Everything that speaks to MongoDB, the truth about every job.

`JobStateManager` is the only writer of job state. Driver errors end here: callers see `StoreUnavailableError` (the
operation was not sent, or only read) and `OutcomeUnknownError` (it was sent, and may have been applied).
"""
