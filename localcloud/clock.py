"""A clock that can be set.

The server's process travels in time, so that all of moto's time stamps follow; the functions' processes learn
the offset with each invocation (``bootstrap.py``). The clock ticks on from where it was set.
"""

import time
from datetime import UTC, datetime
from typing import Any

import time_machine

_travellers: list[time_machine.Traveller] = []  # one, in the server


def install() -> None:
    """Begin to travel, at first to the present: a clock that is set again never shows another time between."""
    _travellers.append(time_machine.travel(time.time(), tick=True).start())


def real_time() -> float:
    """Return the seconds since the epoch, whatever the cloud's clock shows."""
    return time_machine.escape_hatch.time.time()


def offset() -> float:
    """Return by how many seconds the cloud's clock is ahead of real time; 0 if it was not set."""
    seconds = time.time() - real_time() if _travellers else 0.0
    return seconds if abs(seconds) > 0.1 else 0.0


def set_to(now: datetime | None) -> None:
    """Set the clock; None: to real time."""
    _travellers[0].move_to(now.timestamp() if now else real_time())


def reset() -> None:
    """Set the clock to real time."""
    set_to(None)


def _get(_: Any) -> dict[str, str]:
    return {"now": datetime.now(UTC).isoformat()}


def _put(body: dict[str, Any]) -> dict[str, str]:
    set_to(body["now"] and datetime.fromisoformat(body["now"]))
    return _get(body)


ROUTES = {("GET", "/_cloud/clock"): _get, ("PUT", "/_cloud/clock"): _put}
