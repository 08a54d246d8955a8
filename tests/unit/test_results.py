"""What a use case returns, and its JSON."""

from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.domain.database import Database
from chalicelib.domain.errors import Refused
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import (
    DatabaseResult,
    Result,
    combine,
    hours,
)
from chalicelib.domain.snapshots import Criteria
from tests.fakes import PRODUCTION

MIDNIGHT = datetime(2026, 1, 4, tzinfo=UTC)
RDS = Database("rds", "/latest", "/current", Criteria(PRODUCTION, "aurora-postgresql", "15"))
REFUSED = Refused(Reason.ON_HOLD, "on hold until 2026-01-22")


@pytest.mark.parametrize(
    ("outcomes", "worst"),
    [
        (("unchanged", "updated"), 1),
        (("succeeded", "updated", "failed"), 2),
        (("succeeded", "unchanged"), 0),
        (("failed", "failed"), 0),
    ],
)
def test_of_independent_databases_the_worst_outcome_is_the_result(
    outcomes: tuple[str, ...], worst: int
) -> None:
    entries = tuple(
        DatabaseResult(f"db{n}", outcome=each, message=f"m{n}") for n, each in enumerate(outcomes)
    )
    assert combine(entries) == Result(outcomes[worst], None, f"m{worst}", entries)


def test_an_age_is_told_in_hours_to_one_decimal() -> None:
    assert [hours(timedelta(minutes=minutes)) for minutes in (0, 2, 90, 14 * 1440)] == [
        *(0.0, 0.0, 1.5, 336.0)
    ]
