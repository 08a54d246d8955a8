"""What a use case returns, and by which reason."""

from datetime import timedelta

from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import hours


def test_an_age_is_given_in_hours_to_one_decimal() -> None:
    assert [hours(timedelta(minutes=each)) for each in (2, 14 * 1440)] == [0.0, 336.0]


def test_every_reason_is_a_failure_and_says_what_to_do_but_these() -> None:
    skips = ["off-week", "nothing-new", "outside-window", "on-hold"]
    silent = [*skips[:2], "other-pipeline"]
    answers = ["ambiguous-name", "database-unknown", "hold-over", "no-hold-parameter"]
    answers += ["nothing-earlier", "overruled"]
    assert [each for each in Reason if each.outcome != "failed"] == [*skips, "other-pipeline"]
    assert [each for each in Reason if not each.next_step] == [*silent, *answers]
