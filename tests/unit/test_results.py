"""What a use case returns: of several databases, and by which reason."""

from datetime import timedelta

import pytest

from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import DatabaseResult, Result, combine, hours


@pytest.mark.parametrize(
    ("outcomes", "worst"),
    [("unchanged updated", 1), ("succeeded updated failed", 2), ("failed failed", 0)],
)
def test_of_independent_databases_the_worst_outcome_is_the_result(
    outcomes: str, worst: int
) -> None:
    entries = tuple(
        DatabaseResult(f"db{n}", outcome=each, message=f"m{n}")
        for n, each in enumerate(outcomes.split())
    )
    assert combine(entries) == Result(entries[worst].outcome, None, f"m{worst}", entries)


def test_an_age_is_given_in_hours_to_one_decimal() -> None:
    assert [hours(timedelta(minutes=each)) for each in (2, 14 * 1440)] == [0.0, 336.0]


def test_every_reason_says_what_to_do_unless_there_is_nothing_or_a_request_is_answered() -> None:
    to_nobody = ["off-week", "nothing-new", "other-pipeline"]
    to_who_asked = ["ambiguous-name", "database-unknown", "hold-over", "no-hold-parameter"]
    silent = [*to_nobody, *to_who_asked, "nothing-earlier", "overruled"]
    assert [each for each in Reason if not each.next_step] == silent
