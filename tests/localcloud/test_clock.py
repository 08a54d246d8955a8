from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from localcloud import clock
from localcloud.client import LocalCloud

NIGHT = datetime(2026, 1, 4, 2, tzinfo=UTC)
SOON = timedelta(minutes=1)


def test_a_clock_that_was_set_ticks_on(cloud: LocalCloud) -> None:
    cloud.set_clock(NIGHT)
    first, second = cloud.now(), cloud.now()
    assert NIGHT < first < second < NIGHT + SOON


def test_the_clock_can_be_set_again_and_back(cloud: LocalCloud) -> None:
    cloud.set_clock(NIGHT)
    cloud.set_clock(NIGHT - timedelta(days=1))
    assert cloud.now() < NIGHT
    cloud.set_clock(None)
    assert abs(cloud.now() - datetime.now(UTC)) < SOON


def test_nobody_sees_the_worlds_time_while_a_set_clock_is_set_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In this process: another thread could look between the end of a travel and the next one's start."""
    stopped: list[Any] = []
    stop = time_machine.travel.stop
    monkeypatch.setattr(
        time_machine.travel, "stop", lambda travel: stopped.append(travel) or stop(travel)
    )
    try:
        clock.set_to(NIGHT)
        clock.set_to(NIGHT - timedelta(days=1))
        assert (datetime.now(UTC) < NIGHT, stopped) == (True, [])
    finally:
        clock.reset()
    assert len(stopped) == 1
    assert abs(datetime.now(UTC).timestamp() - clock.real_time()) < 1


def test_a_time_without_a_zone_is_refused(cloud: LocalCloud) -> None:
    with pytest.raises(ValueError, match=r"now is '2026.*', which has no UTC offset"):
        cloud.set_clock(NIGHT.replace(tzinfo=None))


def test_functions_follow_the_clock_even_when_warm(
    cloud: LocalCloud,
    deploy: Callable[..., str],
    invoke: Callable[..., tuple[str | None, Any]],
) -> None:
    deploy(
        """
        from datetime import UTC, datetime
        import os, time
        def handler(event, context):
            left = context.get_remaining_time_in_millis()
            return {"now": datetime.now(UTC).isoformat(), "pid": os.getpid(), "left": left}
        """,
        Timeout=20,
    )
    answers = []
    for now in (NIGHT, NIGHT + timedelta(days=300), NIGHT - timedelta(days=300), None):
        cloud.set_clock(now)
        _, answer = invoke()
        assert abs(datetime.fromisoformat(answer["now"]) - (now or datetime.now(UTC))) < SOON
        assert 10_000 < answer["left"] <= 20_000
        answers.append(answer["pid"])
    assert len(set(answers)) == 1
