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


def test_every_reason_is_a_failure_and_says_what_to_do_but_these() -> None:
    skips = ["off-week", "nothing-new", "outside-window", "on-hold"]
    silent = [*skips[:2], "other-pipeline"]
    answers = ["ambiguous-name", "database-unknown", "hold-over", "no-hold-parameter"]
    answers += ["nothing-earlier", "overruled"]
    assert [each for each in Reason if each.outcome != "failed"] == [*skips, "other-pipeline"]
    assert [each for each in Reason if not each.next_step] == [*silent, *answers]
