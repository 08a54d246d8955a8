"""What a use case returns, and its JSON."""

from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.domain.database import Database
from chalicelib.domain.errors import Refused
from chalicelib.domain.parameters import Parameter
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import (
    DatabaseResult,
    Result,
    combine,
    hours,
    refusal,
)
from chalicelib.domain.snapshots import Criteria
from tests.fakes import PRODUCTION, arn

MIDNIGHT = datetime(2026, 1, 4, tzinfo=UTC)
RDS = Database("rds", "/latest", "/current", Criteria(PRODUCTION, "aurora-postgresql", "15"))
REFUSED = Refused(Reason.ON_HOLD, "on hold until 2026-01-22")


def test_a_result_is_written_with_what_is_known_and_always_its_snapshots() -> None:
    assert Result("unchanged", databases=(DatabaseResult("rds"),)).to_json() == {
        "outcome": "unchanged",
        "reason": None,
        "message": None,
        "databases": [{"name": "rds", "latest": None, "current": None, "previous": None}],
    }


def test_a_refusal_leaves_every_database_where_it_is() -> None:
    values = {"/latest": Parameter(arn("b"), 2), "/current": Parameter("dummyvalue", 1)}
    assert refusal(REFUSED, [RDS], values) == Result(
        "skipped",
        Reason.ON_HOLD,
        "on hold until 2026-01-22",
        (DatabaseResult("rds", arn("b"), None, None),),
    )


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


def test_a_database_is_refused_on_its_own() -> None:
    assert DatabaseResult("rds", arn("b")).refused(REFUSED) == DatabaseResult(
        "rds",
        arn("b"),
        outcome="skipped",
        reason=Reason.ON_HOLD,
        message="on hold until 2026-01-22",
    )


def test_an_age_is_told_in_hours_to_one_decimal() -> None:
    assert [hours(timedelta(minutes=minutes)) for minutes in (0, 2, 90, 14 * 1440)] == [
        *(0.0, 0.0, 1.5, 336.0)
    ]
