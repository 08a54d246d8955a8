"""One table: whatever goes wrong at any AWS call of any mover, it ends as if nothing had.

A mover is whatever moves `current`. Its attempt is disturbed once, then made again as Lambda or the
person does; the run that it started ends, and the polls come by.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import pytest

from chalicelib.domain.errors import AwsError, BusyError, Refused
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.pin import PinRequest, pin, rollback
from chalicelib.usecases.promote import RefreshRequest, promote, refresh_now
from chalicelib.usecases.reconcile import reconcile
from tests.fakes import InMemoryAws, arn
from tests.interruptions import Killed, calm, refuse
from tests.stage import CURRENT, PIPELINE
from tests.usecases.conftest import (
    KIM,
    SUNDAY,
    WITH_STACK,
    ends,
    good,
    ledger,
    polls,
    quiet_sunday,
    started,
    subjects,
)

MACHINE = "arn:aws:states:eu-west-1:222222222222:stateMachine:mask"
SETTINGS = Settings.from_environment(WITH_STACK | {"RDS_AFTER_RESTORE": MACHINE})
(DATABASE,) = SETTINGS.databases


# --- the movers -----------------------------------------------------------------------------------


def _promote(aws: InMemoryAws) -> object:
    return promote(SETTINGS, aws, SUNDAY)


def _refresh(aws: InMemoryAws) -> object:
    request = RefreshRequest.by_person(KIM, "we need it", outside_window=False)
    return refresh_now(SETTINGS, aws, request)


def _pin(aws: InMemoryAws) -> object:
    return pin(SETTINGS, aws, DATABASE, PinRequest(arn("new"), KIM, "", deploy=True))


def _rollback(aws: InMemoryAws) -> object:
    return rollback(SETTINGS, aws, DATABASE, KIM, "", deploy=True)


def _reconcile(aws: InMemoryAws) -> object:
    return reconcile(SETTINGS, aws)


def settle(aws: InMemoryAws) -> None:
    """Let what is in progress end well, the run and the preparation, and the polls come by."""
    if any(run.in_progress for run in aws.pipelines.pipelines[PIPELINE]):
        ends(aws)
    polls(SETTINGS, aws)
    for execution, status in aws.state_machines.statuses.items():
        if status == "RUNNING":
            aws.state_machines.statuses[execution] = "SUCCEEDED"
    polls(SETTINGS, aws)


def on_new() -> InMemoryAws:
    """Last night's refresh went well."""
    aws = quiet_sunday()
    promote(SETTINGS, aws, SUNDAY)
    settle(aws)
    return aws


def preparation_that(ended: str) -> Callable[[], InMemoryAws]:
    def arrange() -> InMemoryAws:
        aws = run_that_ended("Succeeded", deploys=True)()
        reconcile(SETTINGS, aws)
        (execution,) = aws.state_machines.statuses
        aws.state_machines.statuses[execution] = ended
        return aws

    return arrange


def run_that_ended(status: str, *, deploys: bool) -> Callable[[], InMemoryAws]:
    def arrange() -> InMemoryAws:
        aws = quiet_sunday()
        promote(SETTINGS, aws, SUNDAY)
        ends(aws, status, deploys=deploys)
        return aws

    return arrange


class Mover(NamedTuple):
    arrange: Callable[[], InMemoryAws]
    act: Callable[[InMemoryAws], object]


STARTING = {
    "promote": Mover(quiet_sunday, _promote),
    "refresh": Mover(quiet_sunday, _refresh),
    "pin": Mover(quiet_sunday, _pin),
    "rollback": Mover(on_new, _rollback),
}
RECONCILING = {
    "reconcile a success": Mover(run_that_ended("Succeeded", deploys=True), _reconcile),
    "reconcile nothing restored": Mover(run_that_ended("Succeeded", deploys=False), _reconcile),
    "reconcile a failure": Mover(run_that_ended("Failed", deploys=False), _reconcile),
    "reconcile a late failure": Mover(run_that_ended("Failed", deploys=True), _reconcile),
    "reconcile a preparation": Mover(preparation_that("SUCCEEDED"), _reconcile),
    "reconcile a failed preparation": Mover(preparation_that("FAILED"), _reconcile),
}
MOVERS = STARTING | RECONCILING


# --- the faults -----------------------------------------------------------------------------------

FAULTS: dict[str, tuple[str, Callable[[str], BaseException]]] = {
    "killed before": ("before", lambda _: Killed()),
    "killed after": ("after", lambda _: Killed()),
    "throttled": ("before", lambda name: AwsError(name, "it", "ThrottlingException", "no")),
    "never arrived": ("before", lambda name: AwsError(name, "it", "Timeout", "", answered=False)),
    "answer lost": ("after", lambda name: AwsError(name, "it", "Timeout", "", answered=False)),
}


def disturb(aws: InMemoryAws, index: int, fault: str) -> None:
    """Let one call go wrong, counted from 0."""
    when, error = FAULTS[fault]
    aws.calls.clear()

    def interrupt(at_when: str, operation: str) -> None:
        if at_when == when and len(aws.calls) == index + 1:
            aws.interrupt = lambda when, operation: None
            raise error(operation)

    aws.interrupt = interrupt


def calls_of(mover: Mover) -> list[str]:
    aws = mover.arrange()
    aws.calls.clear()
    mover.act(aws)
    return aws.calls


CASES = [
    pytest.param(name, index, fault, id=f"{name}-{index}-{call}-{fault}")
    for name, mover in MOVERS.items()
    for index, call in enumerate(calls_of(mover))
    for fault in FAULTS
]


def outcome(aws: InMemoryAws) -> dict[str, object]:
    """Return what matters in the end; of the notifications those that tell how a run ended."""
    return {
        "current": aws.values()[CURRENT],
        "deployed": aws.stacks.restored_from(CURRENT),
        "good": good(aws),
        "started": len(started(aws)),
        "prepared": list(aws.state_machines.inputs),
        "told": [
            each.partition(" in ")[0]
            for each in subjects(aws)
            if "Exception" not in each and "Timeout" not in each
        ],
        "labels of the present version": {
            each for each in aws.parameters.kept[CURRENT][-1].labels if "cluster" not in each
        },
    }


# --- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "index", "fault"), CASES)
def test_an_attempt_that_is_disturbed_and_made_again_ends_as_one_that_was_not(
    name: str, index: int, fault: str
) -> None:
    mover = MOVERS[name]
    undisturbed = mover.arrange()
    mover.act(undisturbed)
    settle(undisturbed)

    aws = mover.arrange()
    call = calls_of(mover)[index]
    disturb(aws, index, fault)
    with suppress(Killed, AwsError):
        mover.act(aws)
    calm(aws)
    with suppress(BusyError):  # the first attempt has started its run
        mover.act(aws)
    settle(aws)

    expected, found = outcome(undisturbed), outcome(aws)
    if call == "_publish" and fault in ("throttled", "never arrived"):
        expected["told"] = []  # a topic that does not work changes nothing else
    if call == "label" or (call, fault) == ("_publish", "killed after"):
        # What cannot be remembered is told twice rather than never.
        found["told"] = list(dict.fromkeys(found["told"]))  # type: ignore[call-overload]
    assert found == expected


@pytest.mark.parametrize(("name", "index", "fault"), CASES)
def test_an_attempt_that_is_disturbed_and_never_made_again_leaves_nothing_half_done(
    name: str, index: int, fault: str
) -> None:
    mover = MOVERS[name]
    aws = mover.arrange()
    disturb(aws, index, fault)
    with suppress(Killed, AwsError):
        mover.act(aws)
    calm(aws, minutes=0)
    settle(aws)
    assert aws.values()[CURRENT] == aws.stacks.restored_from(CURRENT)
    settled = aws.parameters.kept[CURRENT], subjects(aws)
    polls(SETTINGS, aws, times=8)
    assert (aws.parameters.kept[CURRENT], subjects(aws)) == settled


@pytest.mark.parametrize("name", STARTING)
def test_a_start_that_is_refused_is_undone_and_told_by_its_error_alone(name: str) -> None:
    aws = STARTING[name].arrange()
    before, values, told = ledger(aws), aws.values(), subjects(aws)
    refuse(aws, "start")
    with pytest.raises(AwsError, match="start of it failed"):
        STARTING[name].act(aws)
    assert aws.values() == values
    undone = "new" if name == "rollback" else "old"
    action = {"rollback": "rollback", "pin": "pin", "refresh": "refresh"}.get(name, "promote")
    moved = "old" if name == "rollback" else "new"
    assert ledger(aws)[len(before) :] == [(action, moved), ("undo", undone)]
    calm(aws)
    polls(SETTINGS, aws, times=4)
    expected = ["REFRESH FAILED: start AccessDeniedException (rds)"] if name == "promote" else []
    assert subjects(aws)[len(told) :] == expected


@pytest.mark.parametrize("name", STARTING)
def test_a_start_and_an_undo_that_are_both_refused_are_raised_together_and_put_right_by_a_poll(
    name: str,
) -> None:
    aws = STARTING[name].arrange()
    values = aws.values()
    aws.calls.clear()

    def interrupt(when: str, operation: str) -> None:
        if operation == "start" or (operation == "put" and "start" in aws.calls):
            raise AwsError(operation, "it", "AccessDeniedException", "no")

    aws.interrupt = interrupt
    with pytest.raises(AwsError, match="start of it failed") as caught:
        STARTING[name].act(aws)
    assert caught.value.__notes__ == [
        "current could not be put back: put of it failed: AccessDeniedException: no"
    ]
    assert aws.values() != values
    calm(aws)
    polls(SETTINGS, aws, times=2)
    assert aws.values() == values


@pytest.mark.parametrize("name", STARTING)
def test_a_pipeline_that_is_deleted_just_before_the_start_is_a_refusal_and_is_undone(
    name: str,
) -> None:
    aws = STARTING[name].arrange()
    values = aws.values()

    def interrupt(when: str, operation: str) -> None:
        if (when, operation) == ("before", "start"):
            del aws.pipelines.pipelines[PIPELINE]

    aws.interrupt = interrupt
    if name in ("promote", "refresh"):
        assert STARTING[name].act(aws).reason == "pipeline-missing"  # type: ignore[attr-defined]
    else:
        with pytest.raises(Refused, match="there is no pipeline named"):
            STARTING[name].act(aws)
    assert aws.values() == values
