"""The reasons of a decision: which are failures, and what to do about them."""

from chalicelib.domain.reasons import Reason


def test_every_reason_is_a_failure_and_says_what_to_do_but_these() -> None:
    skips = ["off-week", "nothing-new", "outside-window", "on-hold"]
    silent = skips[:2]
    answers = ["ambiguous-name", "database-unknown", "hold-over", "no-hold-parameter"]
    answers += ["nothing-earlier", "overruled"]
    assert [each for each in Reason if each.outcome != "failed"] == skips
    assert [each for each in Reason if not each.next_step] == [*silent, *answers]
