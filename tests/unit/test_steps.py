"""The steps of a promotion and their verdicts."""

import pytest

from chalicelib.domain.errors import AwsError, BusyError, Refused
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import Step
from chalicelib.domain.steps import ACTIONS, CHECKS, StepLog

ON_HOLD = Refused(Reason.ON_HOLD, "on hold")
BUSY = BusyError("pipeline main is busy")
NAMES = ("week", "window", "hold", "parameters", "snapshot", "new", "idle", "put", "start")


def verdicts(log: StepLog) -> list[str]:
    assert tuple(step.step for step in log.steps) == NAMES == (*CHECKS, *ACTIONS)
    return [step.verdict for step in log.steps]


def passed(log: StepLog, *names: str) -> None:
    for name in names:
        with log.step(name):
            pass


def test_nothing_is_reached_at_first() -> None:
    assert verdicts(StepLog()) == ["not reached"] * 9


def test_a_step_that_passes_has_its_last_detail() -> None:
    log = StepLog()
    with log.step("week") as detail:
        detail("one")
        detail("two")
    assert log.steps[0] == Step("week", "passed", "two")


@pytest.mark.parametrize("refusal", [ON_HOLD, BUSY])
def test_a_refusal_ends_the_checks_and_says_why(refusal: Refused | BusyError) -> None:
    log = StepLog()
    with pytest.raises(type(refusal)) as caught, log.step("week"):
        raise refusal
    assert caught.value is refusal
    assert log.steps[0] == Step("week", "refused", str(refusal))
    assert verdicts(log)[1:] == ["not reached"] * 8


@pytest.mark.parametrize(
    ("collect_all", "time_based"), [(True, False), (False, True), (False, False)]
)
def test_only_conditions_of_time_are_collected_and_only_on_request(
    *, collect_all: bool, time_based: bool
) -> None:
    log = StepLog(collect_all=collect_all)
    with pytest.raises(Refused), log.step("window", time_based=time_based):
        raise ON_HOLD


def test_the_checks_end_with_the_first_deferred_refusal() -> None:
    log = StepLog(collect_all=True)
    for name, refusal in (("window", Refused(Reason.OUTSIDE_WINDOW, "outside")), ("hold", ON_HOLD)):
        with log.step(name, time_based=True):
            raise refusal
    passed(log, "parameters", "snapshot", "new", "idle")
    with pytest.raises(Refused, match="outside"):
        log.end_of_checks()
    assert verdicts(log) == [
        *("not reached", "refused", "refused", "passed", "passed", "passed", "passed"),
        *("not reached", "not reached"),
    ]


def test_a_later_refusal_raises_the_first_deferred_one() -> None:
    log = StepLog(collect_all=True)
    with log.step("hold", time_based=True):
        raise ON_HOLD
    with pytest.raises(Refused) as caught, log.step("idle"):
        raise BUSY
    assert caught.value is ON_HOLD
    assert log.steps[6].detail == str(BUSY)


def test_a_failed_call_is_no_verdict() -> None:
    log = StepLog(collect_all=True)
    with pytest.raises(AwsError), log.step("window", time_based=True):
        raise AwsError("GetParameters", "x", "Throttling", "no")
    assert verdicts(log) == ["not reached"] * 9


def test_actions_are_done_or_would_be_done() -> None:
    done, planned = StepLog(collect_all=True), StepLog()
    for log in (done, planned):
        passed(log, *CHECKS)
        log.end_of_checks()
    done.mark_actions("done")
    planned.mark_actions("would do")
    assert verdicts(done) == ["passed"] * 7 + ["done"] * 2
    assert verdicts(planned) == ["passed"] * 7 + ["would do"] * 2
