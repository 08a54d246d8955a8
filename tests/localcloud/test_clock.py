"""The cloud's clock can be set, and functions see it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from localcloud.client import LocalCloud

NIGHT = datetime(2026, 1, 4, 2, tzinfo=UTC)
SOON = timedelta(minutes=1)


def test_functions_follow_the_clock_even_when_warm(
    cloud: LocalCloud,
    deploy: Callable[..., str],
    invoke: Callable[..., tuple[str | None, Any]],
) -> None:
    deploy(
        """
        from datetime import UTC, datetime
        import os
        def handler(event, context):
            left = context.get_remaining_time_in_millis()
            return [datetime.now(UTC).isoformat(), os.getpid(), left]
        """,
        Timeout=20,
    )
    processes = set()
    for now in (NIGHT, NIGHT + timedelta(days=300), NIGHT - timedelta(days=300), None):
        cloud.set_clock(now)
        _, (seen, process, left) = invoke()
        shown = cloud.now()
        assert timedelta() <= shown - (now or datetime.now(UTC) - SOON) < 2 * SOON
        assert abs(shown - datetime.fromisoformat(seen)) < SOON
        assert 10_000 < left <= 20_000
        processes.add(process)
    assert len(processes) == 1
