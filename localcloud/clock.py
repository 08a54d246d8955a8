"""A clock that can be set.

The server's process travels in time, so that every time stamp moto makes follows; the processes of the
functions are told the offset with each invocation (``bootstrap.py``). The clock ticks on from where it was
set. AWS has no such thing: its clock is the world's.
"""

import threading
import time
from datetime import UTC, datetime
from typing import Any

import time_machine

_lock = threading.Lock()
_travels: list[tuple[time_machine.travel, time_machine.Traveller]] = []  # one, or none


def real_time() -> float:
    """Seconds since the epoch by the world's clock, whatever the cloud's shows."""
    with _lock:
        return time_machine.escape_hatch.time.time() if _travels else time.time()


def offset() -> float:
    """By how many seconds the cloud's clock is ahead of the world's; 0 if it was not set."""
    return time.time() - real_time() if _travels else 0.0


def set_to(now: datetime | None) -> None:
    """Set the clock; None: to real time."""
    with _lock:
        if now is None:
            for travel, _ in _travels:
                travel.stop()
            _travels.clear()
        elif _travels:
            # On from there, lest somebody see a moment of real time in between.
            _travels[0][1].move_to(now.timestamp())
        else:
            travel = time_machine.travel(now.timestamp(), tick=True)
            _travels.append((travel, travel.start()))


def reset() -> None:
    """Back to real time."""
    set_to(None)


def _get(_: Any) -> dict[str, str]:
    return {"now": datetime.now(UTC).isoformat()}


def _put(body: dict[str, Any]) -> dict[str, str]:
    now = body["now"] and datetime.fromisoformat(body["now"])
    if now and now.tzinfo is None:
        raise ValueError(f"now is {body['now']!r}, which has no UTC offset")
    set_to(now)
    return _get(body)


ROUTES = {("GET", "/_cloud/clock"): _get, ("PUT", "/_cloud/clock"): _put}
