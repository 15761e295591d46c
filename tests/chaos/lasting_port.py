"""A port for a service that is ended and started again: nobody may get it in between."""

from __future__ import annotations

import random
from pathlib import Path

from headrace.local.ports import free_port, is_free

LOWEST = 20_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def lasting_port() -> int:
    """A free loopback port below those that the kernel hands out, to connections as to whoever asks for any port."""
    below = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 0
    if below - LOWEST > 1000:
        for _ in range(100):
            port = random.randrange(LOWEST, below)
            if is_free(port):
                return port
    return free_port()
