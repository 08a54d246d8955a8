"""A clock that can be set, and the duration of what takes minutes on AWS.

The time of the server's process is changed, so that all of moto's time stamps follow. The functions' processes
get the offset with each invocation (``bootstrap.py``). The clock runs on from where it was set.
"""

import time
from datetime import UTC, datetime

import time_machine

from localcloud.controls import control

_travellers: list[time_machine.Traveller] = []  # one, in the server
_USUAL = {"copy": 1.0, "stack": 0.2, "retry": 1.0}
#: Durations in seconds of real time; see ``set_seconds``.
seconds = dict(_USUAL)


def install() -> None:
    """Take over the clock at the present time, so that setting it later never shows real time in between."""
    _travellers.append(time_machine.travel(time.time(), tick=True).start())


def real_time() -> float:
    """Return the real time in seconds since the epoch, whatever the cloud's clock says."""
    return time_machine.escape_hatch.time.time()


def offset() -> float:
    """Return how many seconds the cloud's clock is ahead of real time; 0 if it was not set."""
    ahead = time.time() - real_time() if _travellers else 0.0
    return ahead if abs(ahead) > 0.1 else 0.0


@control
def set_clock(now: str | None) -> None:
    """Set the clock, which runs on from there; None sets it to real time."""
    _travellers[0].move_to(datetime.fromisoformat(now).timestamp() if now else real_time())


@control
def clock() -> datetime:
    """Return the time of the clock."""
    return datetime.now(UTC)


@control
def set_seconds(**changed: float) -> None:
    """Set durations.

    - ``copy``: of a copy or a manual snapshot;
    - ``stack``: of creating, updating or deleting a stack through the API;
    - ``retry``: until a failed asynchronous invocation, or a task of a state machine, is retried; twice as long
      before the third attempt of an invocation.
    """
    if unknown := changed.keys() - seconds.keys():
        raise ValueError(f"the duration of {', '.join(unknown)} cannot be set")
    seconds.update(changed)


def reset() -> None:
    """Set the clock to real time, and the durations to their defaults."""
    set_clock(None)
    seconds.update(_USUAL)
