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


class _Clock:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._travel: time_machine.travel | None = None
        self._traveller: time_machine.Traveller | None = None

    def real_time(self) -> float:
        with self._lock:
            return self._real_time()

    def offset(self) -> float:
        with self._lock:
            return 0.0 if self._travel is None else time.time() - self._real_time()

    def set_to(self, now: datetime | None) -> None:
        with self._lock:
            if now is None:
                if self._travel is not None:
                    self._travel.stop()
                self._travel = self._traveller = None
            elif self._traveller is None:
                self._travel = time_machine.travel(now.timestamp(), tick=True)
                self._traveller = self._travel.start()
            else:
                # On from there, lest somebody see a moment of real time in between.
                self._traveller.move_to(now.timestamp())

    def _real_time(self) -> float:
        return time.time() if self._travel is None else time_machine.escape_hatch.time.time()


_clock = _Clock()


def real_time() -> float:
    """Seconds since the epoch by the world's clock, whatever the cloud's shows."""
    return _clock.real_time()


def offset() -> float:
    """By how many seconds the cloud's clock is ahead of the world's; 0 if it was not set."""
    return _clock.offset()


def set_to(now: datetime | None) -> None:
    """Set the clock; None: to real time."""
    _clock.set_to(now)


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
