"""The steps of a promotion and their verdicts."""

import pytest

from chalicelib.domain.errors import AwsError, PipelineBusyError, Refused
from chalicelib.domain.steps import CHECKS, DEEDS, StepLog

HELD = Refused("on-hold", "on hold")
BUSY = PipelineBusyError("main", "run-7")


def verdicts(walk: StepLog) -> list[str | None]:
    assert [step["step"] for step in walk.steps] == [*CHECKS, *DEEDS]
    return [step["verdict"] for step in walk.steps]


def passed(walk: StepLog, *names: str) -> None:
    for name in names:
        with walk.step(name):
            pass


def test_nothing_is_reached_at_first() -> None:
    assert verdicts(StepLog()) == ["not reached"] * 9


def test_the_steps_are_the_contracts() -> None:
    assert (*CHECKS, *DEEDS) == (
        *("week", "window", "hold", "parameters", "snapshot", "new", "idle"),
        *("put", "start"),
    )


def test_a_step_tells_what_it_was_last_told() -> None:
    walk = StepLog()
    with walk.step("week") as told:
        told("one")
        told("two")
    assert walk.steps[0] == {"step": "week", "verdict": "passed", "detail": "two"}


@pytest.mark.parametrize("refusal", [HELD, BUSY])
def test_a_refusal_ends_the_walk_and_says_why(refusal: Refused | PipelineBusyError) -> None:
    walk = StepLog()
    with pytest.raises(type(refusal)) as caught, walk.step("week"):
        raise refusal
    assert caught.value is refusal
    assert walk.steps[0] == {"step": "week", "verdict": "refused", "detail": str(refusal)}
    assert verdicts(walk)[1:] == ["not reached"] * 8


@pytest.mark.parametrize(
    ("collect_all", "time_based"), [(True, False), (False, True), (False, False)]
)
def test_patience_is_for_the_patient_and_for_conditions_of_time(
    collect_all: bool, time_based: bool
) -> None:
    walk = StepLog(collect_all=collect_all)
    with pytest.raises(Refused), walk.step("window", time_based=time_based):
        raise HELD


def test_patience_ends_with_the_checks_in_the_first_refusal() -> None:
    walk = StepLog(collect_all=True)
    for name, refusal in (("window", Refused("outside-window", "outside")), ("hold", HELD)):
        with walk.step(name, time_based=True):
            raise refusal
    passed(walk, "parameters", "snapshot", "new", "idle")
    with pytest.raises(Refused, match="outside"):
        walk.end_of_checks()
    assert verdicts(walk) == [
        *("not reached", "refused", "refused", "passed", "passed", "passed", "passed"),
        *("not reached", "not reached"),
    ]


def test_patience_ends_at_a_refusal_that_is_not_of_time_in_the_first_one() -> None:
    walk = StepLog(collect_all=True)
    with walk.step("hold", time_based=True):
        raise HELD
    with pytest.raises(Refused) as caught, walk.step("idle"):
        raise BUSY
    assert caught.value is HELD
    assert walk.steps[6]["detail"] == str(BUSY)


def test_what_aws_did_not_do_is_no_verdict() -> None:
    walk = StepLog(collect_all=True)
    with pytest.raises(AwsError), walk.step("window", time_based=True):
        raise AwsError("GetParameters", "x", "Throttling", "no")
    assert verdicts(walk) == ["not reached"] * 9


def test_without_a_refusal_the_checks_end_in_nothing() -> None:
    walk = StepLog(collect_all=True)
    passed(walk, *CHECKS)
    walk.end_of_checks()
    assert verdicts(walk) == ["passed"] * 7 + ["not reached"] * 2


def test_deeds_are_done_or_would_be() -> None:
    done, would = StepLog(), StepLog()
    done.done()
    would.mark_planned()
    assert verdicts(done)[7:] == ["done", "done"]
    assert verdicts(would)[7:] == ["would do", "would do"]
