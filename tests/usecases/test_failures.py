"""One table: whatever goes wrong at any AWS call, everything ends as if nothing had.

An attempt is disturbed once, then made again as Lambda or the person does. Then the run that it
started ends, and the polls come by.
"""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from chalicelib.domain.errors import AwsError, BusyError, Refused
from tests.fakes import InMemoryAws
from tests.interruptions import Killed, calm, meanwhile
from tests.stage import PIPELINE, PIPELINE_NAME
from tests.usecases.names import SUNDAY
from tests.usecases.night import Night
from tests.usecases.test_copies import first_night
from tests.usecases.test_preparation import masked
from tests.usecases.test_share import company, follow_shares, share, third_saturday


class Mover(NamedTuple):
    """What writes, and in which state of the account."""

    arrange: Callable[[], Night]
    act: Callable[[Night], Any]


def settle(night: Night) -> None:
    """Let what is in progress end well, the run and the preparation, and the polls come by."""
    if any(run.in_progress for run in night.aws.pipelines.pipelines[PIPELINE]):
        night.run_ends()
    night.polls()
    for execution, status in night.aws.state_machines.statuses.items():
        if status == "RUNNING":
            night.aws.state_machines.statuses[execution] = "SUCCEEDED"
    night.polls()


def on_new() -> Night:
    """Last night's refresh went well."""
    night = masked()
    night.promote()
    settle(night)
    return night


def after(run: str, *, deploys: bool, work: str = "") -> Mover:
    """Reconcile after a run that ended so, or after the work that prepares what it restored."""

    def arrange() -> Night:
        night = masked()
        night.promote()
        night.run_ends(run, deploys=deploys)
        if work:
            night.reconcile()
            (execution,) = night.aws.state_machines.statuses
            night.aws.state_machines.statuses[execution] = work
        return night

    return Mover(arrange, Night.reconcile)


def newer_is_shared() -> Night:
    night = Night()
    night.offer("newer", created=SUNDAY - timedelta(hours=3))
    return night


def copied() -> Night:
    """The copy that an update has started is available."""
    night = first_night()
    night.update()
    night.aws.snapshots.settle()
    return night


def in_production(aws: InMemoryAws) -> Night:
    """An account that shares, and has neither databases nor runs."""
    night = Night()
    night.aws = aws
    night.set(PIPELINE_NAME, PIPELINE)
    aws.pipelines.pipelines[PIPELINE] = []
    return night


STARTING = {
    "promote": Mover(masked, Night.promote),
    "promote two": Mover(lambda: Night(two=True), Night.promote),
    "refresh": Mover(masked, Night.refresh),
    "pin": Mover(masked, lambda night: night.pin("new", deploy=True)),
    "rollback": Mover(on_new, Night.rollback),
}
MOVERS = STARTING | {
    "reconcile a success": after("Succeeded", deploys=True),
    "reconcile nothing restored": after("Succeeded", deploys=False),
    "reconcile a failure": after("Failed", deploys=False),
    "reconcile a late failure": after("Failed", deploys=True),
    "reconcile a preparation": after("Succeeded", deploys=True, work="SUCCEEDED"),
    "reconcile a failed preparation": after("Succeeded", deploys=True, work="FAILED"),
    "update": Mover(newer_is_shared, Night.update),
    "update that copies": Mover(first_night, Night.update),
    "poll that records": Mover(copied, Night.follow_copies),
    "share": Mover(lambda: in_production(company()), lambda night: share(night.aws)),
    "poll that shares": Mover(
        lambda: in_production(third_saturday()), lambda night: follow_shares(night.aws)
    ),
}


# --- the faults -----------------------------------------------------------------------------------

FAULTS: dict[str, tuple[str, Callable[[str], BaseException]]] = {
    "killed before": ("before", lambda _: Killed()),
    "killed after": ("after", lambda _: Killed()),
    "throttled": ("before", lambda name: AwsError(name, "it", "ThrottlingException", "no")),
    "never arrived": ("before", lambda name: AwsError(name, "it", "Timeout", "", answered=False)),
    "answer lost": ("after", lambda name: AwsError(name, "it", "Timeout", "", answered=False)),
}


def disturb(night: Night, index: int, fault: str) -> None:
    """Let one call go wrong, counted from 0."""
    when, error = FAULTS[fault]
    night.aws.calls.clear()

    def interrupt(at_when: str, operation: str) -> None:
        if at_when == when and len(night.aws.calls) == index + 1:
            night.aws.interrupt = lambda when, operation: None
            raise error(operation)

    night.aws.interrupt = interrupt


def calls_of(name: str) -> list[str]:
    night = MOVERS[name].arrange()
    night.aws.calls.clear()
    MOVERS[name].act(night)
    return night.aws.calls


def cases(*faults: str) -> pytest.MarkDecorator:
    """Try each fault at each call that each of the movers makes."""
    return pytest.mark.parametrize(
        ("name", "index", "fault"),
        [
            pytest.param(name, index, fault, id=f"{name}-{index}-{call}-{fault}")
            for name in MOVERS
            for index, call in enumerate(calls_of(name))
            for fault in faults
        ],
    )


def outcome(night: Night) -> dict[str, Any]:
    """Return what matters in the end; of the notifications those about an end."""
    aws, currents = night.aws, {each.current_parameter for each in night.settings.databases}
    names = sorted(currents & aws.values().keys())
    ends = [each for each in night.subjects if "Exception" not in each and "Timeout" not in each]
    labels = [night.present(each).labels for each in names]
    return {
        "values": aws.values(),
        "snapshots": sorted((each.arn, each.status) for each in aws.snapshots.all),
        "tags": aws.snapshots.tags,
        "shared": {arn: accounts for arn, accounts in aws.snapshots.read_by.items() if accounts},
        "notified": [each.partition(" in ")[0] for each in ends],
        "deployed": [night.deployed(each) for each in names],
        "good": [night.good(each) for each in names],
        "started": len(night.started),
        "prepared": list(aws.state_machines.inputs),
        "labels": [{each for each in found if "cluster" not in each} for found in labels],
    }


# --- the table ------------------------------------------------------------------------------------


@cases(*FAULTS)
def test_a_disturbed_attempt_made_again_ends_the_same(name: str, index: int, fault: str) -> None:
    mover = MOVERS[name]
    undisturbed, night = mover.arrange(), mover.arrange()
    mover.act(undisturbed)
    disturb(night, index, fault)
    with suppress(Killed, AwsError):
        mover.act(night)
    calm(night.aws)
    with suppress(BusyError):  # the first attempt has started its run
        mover.act(night)
    settle(undisturbed)
    settle(night)

    expected, found = outcome(undisturbed), outcome(night)
    call = calls_of(name)[index]
    is_ended = name in ("reconcile a failure", "reconcile a failed preparation")
    if call == "_publish" and fault in ("throttled", "never arrived") and not is_ended:
        # A topic that does not work changes nothing else; how a refresh failed is told by a later poll.
        found["notified"] = expected["notified"] = []
    if call == "label" or (call, fault[-5:]) in (("_publish", "after"), ("_publish", " lost")):
        # What cannot be remembered is notified twice rather than never.
        for each in (expected, found):
            each["notified"] = list(dict.fromkeys(each["notified"]))
    assert found == expected


# The calls that look up what is only good to know: where a run failed.
OPTIONAL = {("reconcile a failure", 10), ("reconcile a late failure", 10)}


@cases("throttled")
def test_a_refused_call_is_raised_and_notified(name: str, index: int, fault: str) -> None:
    """If it was to start a run, `current` is back as it was, and no poll says more of it."""
    night, act, call = MOVERS[name].arrange(), MOVERS[name].act, calls_of(name)[index]
    before, values = len(night.subjects), night.values
    disturb(night, index, fault)
    is_optional = call == "_publish" or (name, index) in OPTIONAL
    with nullcontext() if is_optional else pytest.raises(AwsError, match=f"{call} of it failed"):
        act(night)
    if act in (Night.promote, Night.update):
        (subject,) = night.subjects[before:]
        assert subject.startswith(f"REFRESH FAILED: {call} ThrottlingException (")
    if name in STARTING:
        assert night.values == values
        sent = night.subjects
        night.polls(4)
        assert (night.values, night.subjects) == (values, sent)


@pytest.mark.parametrize("name", STARTING)
def test_a_pipeline_that_is_deleted_before_the_start_is_a_refusal_and_undone(name: str) -> None:
    night = STARTING[name].arrange()
    values = night.values
    meanwhile(night.aws, "before", "start", night.aws.pipelines.pipelines.clear)
    try:
        reason = STARTING[name].act(night).reason
    except Refused as refused:
        reason = refused.reason
    assert (reason, night.values) == ("pipeline-missing", values)
