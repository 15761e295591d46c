"""When a failed job runs again: exponential back-off with full jitter and a cap.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (the full-jitter form).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class RetryPolicy(BaseModel):
    """How long a job waits after its n-th failure. Times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_seconds: float = Field(default=1.0, gt=0)
    factor: float = Field(default=2.0, ge=1)
    cap_seconds: float = Field(default=300.0, gt=0)

    def ceiling_seconds(self, failures: int) -> float:
        """The longest wait after `failures` failures (1 = the first)."""
        # 64 doublings exceed any cap; the bound keeps the power small. A large factor still overflows.
        exponent = min(max(failures - 1, 0), 64)
        try:
            grown = self.base_seconds * self.factor**exponent
        except OverflowError:
            return self.cap_seconds
        return float(min(self.cap_seconds, grown))

    def delay_seconds(self, failures: int, jitter: float) -> float:
        """The wait after `failures` failures.

        Args:
            failures: How often the job has failed by now, 1 or more.
            jitter: A number from 0 to 1, drawn by the caller, so that this stays pure.
        """
        return self.ceiling_seconds(failures) * jitter
