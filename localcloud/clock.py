"""A clock that can be set, and how long things take that take minutes on AWS.

The server's process travels in time, so that all of moto's time stamps follow; the functions' processes learn
the offset with each invocation (``bootstrap.py``). The clock ticks on from where it was set.
"""

import time
from datetime import UTC, datetime

import time_machine

from localcloud.controls import control

_travellers: list[time_machine.Traveller] = []  # one, in the server
_USUAL = {"copy": 1.0, "stack": 0.2, "retry": 1.0}
#: Durations in seconds of real time; ``set_seconds`` says of what.
seconds = dict(_USUAL)


def install() -> None:
    """Begin to travel, at first to the present: a clock that is set again never shows another time between."""
    _travellers.append(time_machine.travel(time.time(), tick=True).start())


def real_time() -> float:
    """Return the seconds since the epoch, whatever the cloud's clock shows."""
    return time_machine.escape_hatch.time.time()


def offset() -> float:
    """Return by how many seconds the cloud's clock is ahead of real time; 0 if it was not set."""
    ahead = time.time() - real_time() if _travellers else 0.0
    return ahead if abs(ahead) > 0.1 else 0.0


@control
def set_clock(now: str | None) -> None:
    """Set the clock, which ticks on from there; None: to real time."""
    _travellers[0].move_to(datetime.fromisoformat(now).timestamp() if now else real_time())


@control
def clock() -> datetime:
    """Return the time by the clock."""
    return datetime.now(UTC)


@control
def set_seconds(**changed: float) -> None:
    """Set how long things take.

    - ``copy``: a copy or a manual snapshot;
    - ``stack``: to create, update or delete a stack through the API;
    - ``retry``: until a failed asynchronous invocation, or a task of a state machine, is tried again; twice as long
      before the third attempt of an invocation.
    """
    if unknown := changed.keys() - seconds.keys():
        raise ValueError(f"the duration of {', '.join(unknown)} cannot be set")
    seconds.update(changed)


def reset() -> None:
    """Set the clock to real time, and let everything take as long as usual."""
    set_clock(None)
    seconds.update(_USUAL)
