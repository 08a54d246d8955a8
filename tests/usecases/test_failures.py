"""One table: whatever goes wrong at any AWS call of anything that writes, it ends as if nothing had.

An attempt is disturbed once, then made again as Lambda or the person does. What moved `current` goes on:
the run that it started ends, and the polls come by.
"""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import date, timedelta
from typing import NamedTuple

import pytest

from chalicelib.domain.errors import AwsError, BusyError, Refused
from chalicelib.domain.shares import Cluster
from chalicelib.settings.acceptance import Settings
from chalicelib.settings.production import ProductionSettings
from chalicelib.usecases.hold import hold, resume
from chalicelib.usecases.pin import PinRequest, pin, rollback
from chalicelib.usecases.promote import RefreshRequest, promote, refresh_now
from chalicelib.usecases.reconcile import reconcile
from chalicelib.usecases.share import follow_shares, share
from chalicelib.usecases.update_latest import follow_copies, update
from tests.fakes import ACCEPTANCE, COPIES_UNDER_WAY, PRODUCTION, InMemoryAws, arn, snapshot
from tests.interruptions import Killed, calm, refuse
from tests.stage import CURRENT, LATEST, PIPELINE
from tests.usecases.conftest import (
    KIM,
    SUNDAY,
    TWO_IN_ONE_STACK,
    WITH_STACK,
    ends,
    good,
    hold_until,
    ledger,
    polls,
    quiet_sunday,
    started,
    subjects,
    with_documents,
)

MACHINE = "arn:aws:states:eu-west-1:222222222222:stateMachine:mask"
SETTINGS = Settings.from_environment(WITH_STACK | {"RDS_AFTER_RESTORE": MACHINE})
TWO = Settings.from_environment(TWO_IN_ONE_STACK)
(DATABASE,) = SETTINGS.databases


class Mover(NamedTuple):
    """What writes, and in which state of the account."""

    arrange: Callable[[], InMemoryAws]
    act: Callable[[InMemoryAws], object]
    told: str | None = None  # how people hear of a call that is refused, if not by the alarm alone
    settings: Settings = SETTINGS


# --- what moves `current` -------------------------------------------------------------------------


def _promote(aws: InMemoryAws) -> object:
    return promote(SETTINGS, aws, SUNDAY)


def _promote_two(aws: InMemoryAws) -> object:
    return promote(TWO, aws, SUNDAY)


def _refresh(aws: InMemoryAws) -> object:
    request = RefreshRequest.by_person(KIM, "we need it", outside_window=False)
    return refresh_now(SETTINGS, aws, request)


def _pin(aws: InMemoryAws) -> object:
    return pin(SETTINGS, aws, DATABASE, PinRequest(arn("new"), KIM, "", deploy=True))


def _rollback(aws: InMemoryAws) -> object:
    return rollback(SETTINGS, aws, DATABASE, KIM, "", deploy=True)


def _reconcile(aws: InMemoryAws) -> object:
    return reconcile(SETTINGS, aws)


def settle(aws: InMemoryAws, settings: Settings = SETTINGS) -> None:
    """Let what is in progress end well, the run and the preparation, and the polls come by."""
    if any(run.in_progress for run in aws.pipelines.pipelines[PIPELINE]):
        ends(aws)
    polls(settings, aws)
    for execution, status in aws.state_machines.statuses.items():
        if status == "RUNNING":
            aws.state_machines.statuses[execution] = "SUCCEEDED"
    polls(settings, aws)


def two_databases() -> InMemoryAws:
    return with_documents(TWO, quiet_sunday())


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


REFRESH_FAILED = "aurora-refresh: REFRESH FAILED: "
STARTING = {
    "promote": Mover(quiet_sunday, _promote, REFRESH_FAILED),
    "promote two": Mover(two_databases, _promote_two, REFRESH_FAILED, TWO),
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


# --- what writes anything else --------------------------------------------------------------------

COPIED = {"RDS_COPY_KMS_KEY_ID": "alias/acceptance", "RDS_COPIES_TO_KEEP": "2"}
COPYING = Settings.from_environment(WITH_STACK | COPIED)
TWO_O_CLOCK = SUNDAY.replace(hour=2)
SATURDAY = SUNDAY - timedelta(hours=6)
SHARING = ProductionSettings.from_environment(
    {
        "SHARE_WITH_ACCOUNT": ACCEPTANCE,
        "CLUSTERS": "orders,billing",
        "SHARE_KMS_KEY_ID": "alias/shares",
        "SHARES_TO_KEEP": "1",
    }
)


def _update(aws: InMemoryAws) -> object:
    return update(SETTINGS, aws, TWO_O_CLOCK)


def _update_copies(aws: InMemoryAws) -> object:
    return update(COPYING, aws, TWO_O_CLOCK)


def _follow_copies(aws: InMemoryAws) -> object:
    return follow_copies(COPYING, aws)


def _share(aws: InMemoryAws) -> object:
    return share(SHARING, "production", aws, SATURDAY)


def _follow_shares(aws: InMemoryAws) -> object:
    return follow_shares(SHARING, "production", aws, SATURDAY)


def _hold(aws: InMemoryAws) -> object:
    return hold(SETTINGS, aws, date(2026, 1, 22), KIM, "release test")


def _resume(aws: InMemoryAws) -> object:
    return resume(SETTINGS, aws, KIM)


def something_newer() -> InMemoryAws:
    aws = quiet_sunday()
    aws.snapshots.all.append(snapshot("newer", created=SUNDAY - timedelta(hours=3)))
    return aws


def first_night() -> InMemoryAws:
    """Nothing has been copied yet."""
    aws = quiet_sunday()
    aws.parameters.put_by_hand(LATEST, "dummyvalue")
    return aws


def second_night() -> InMemoryAws:
    """An update finds one copy to record, and another one to start."""
    aws = first_night()
    _update_copies(aws)
    aws.snapshots.settle()
    aws.snapshots.all.append(snapshot("newer", created=SUNDAY - timedelta(hours=3)))
    return aws


def crowded() -> InMemoryAws:
    """A poll has everything to do: record, tell of a failure, and delete."""
    aws = first_night()
    for days in (5, 4, 3, 2, 1):
        own = [each for each in aws.snapshots.all if each.own]
        aws.snapshots.all = [*own, snapshot(f"s{days}", created=SUNDAY - timedelta(days=days))]
        _update_copies(aws)
        aws.snapshots.settle("failed" if days == 1 else "available")
    made = [each.arn for each in aws.snapshots.all if each.own]
    aws.parameters.put_by_hand(CURRENT, made[0])
    aws.parameters.put_by_hand(LATEST, made[2])
    return aws


def no_room() -> InMemoryAws:
    """Others have as many copies made as RDS makes at a time."""
    aws = first_night()
    theirs = [f"theirs-{number}" for number in range(COPIES_UNDER_WAY)]
    aws.snapshots.all += [snapshot(each, ACCEPTANCE, status="copying") for each in theirs]
    return aws


def room_again() -> InMemoryAws:
    """A poll finds that RDS can start the copy now."""
    aws = no_room()
    _update_copies(aws)
    aws.snapshots.settle()
    return aws


def production() -> InMemoryAws:
    """One cluster is not encrypted, the other one is under the default key."""
    aws = InMemoryAws(SATURDAY, PRODUCTION)
    aws.clusters.all["orders"] = Cluster("orders", None)
    aws.clusters.all["billing"] = Cluster("billing", "key/default")
    aws.keys.default.add("key/default")
    aws.snapshots.all = [snapshot("rds:billing-1", own=True, cluster="billing")]
    aws.pipelines.pipelines[PIPELINE] = []
    return aws


def third_saturday() -> InMemoryAws:
    """A poll has everything to do: share, tell of a failure, and delete."""
    aws = production()
    for weeks in (2, 1, 0):
        scheduled = SATURDAY - timedelta(weeks=weeks)
        aws.snapshots.all[0] = aws.snapshots.all[0]._replace(created=scheduled)
        share(SHARING, "production", aws, scheduled)
        aws.snapshots.settle("failed" if weeks == 1 else "available")
        if weeks == 2:
            _follow_shares(aws)
    return aws


def held() -> InMemoryAws:
    aws = quiet_sunday()
    hold_until("2026-02-01")(aws)
    return aws


OTHERS = {
    "update": Mover(something_newer, _update, REFRESH_FAILED),
    "update that copies": Mover(first_night, _update_copies, REFRESH_FAILED),
    "update that records": Mover(second_night, _update_copies, REFRESH_FAILED),
    "poll that records": Mover(crowded, _follow_copies),
    "update without room": Mover(no_room, _update_copies, REFRESH_FAILED),
    "poll that copies": Mover(room_again, _follow_copies),
    "share": Mover(production, _share, "aurora-refresh: SHARING FAILED: "),
    "poll that shares": Mover(third_saturday, _follow_shares),
    "hold": Mover(quiet_sunday, _hold),
    "resume": Mover(held, _resume),
}


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


def cases(movers: dict[str, Mover], *faults: str) -> pytest.MarkDecorator:
    """Try each fault at each call that each of the movers makes."""
    return pytest.mark.parametrize(
        ("name", "index", "fault"),
        [
            pytest.param(name, index, fault, id=f"{name}-{index}-{call}-{fault}")
            for name, mover in movers.items()
            for index, call in enumerate(calls_of(mover))
            for fault in faults or FAULTS
        ],
    )


def outcome(name: str, aws: InMemoryAws) -> dict[str, object]:
    """Return what matters in the end; of the notifications those that tell how something ended."""
    told = [
        each.partition(" in ")[0]
        for each in subjects(aws)
        if "Exception" not in each and "Timeout" not in each
    ]
    if name in OTHERS:
        return {
            "values": aws.values(),
            "labels": [each.labels for each in aws.parameters.kept.get(LATEST, [])],
            "snapshots": sorted((each.arn, each.status) for each in aws.snapshots.all),
            "tags": aws.snapshots.tags,
            "read by": {
                name: accounts for name, accounts in aws.snapshots.read_by.items() if accounts
            },
            "told": list(dict.fromkeys(told)),
        }
    parameters = [each.current_parameter for each in MOVERS[name].settings.databases]
    return {
        "current": [aws.values()[each] for each in parameters],
        "deployed": [aws.stacks.restored_from(each) for each in parameters],
        "good": [good(aws, each) for each in parameters],
        "started": len(started(aws)),
        "prepared": list(aws.state_machines.inputs),
        "told": told,
        "labels of the present version": [
            {label for label in aws.parameters.kept[each][-1].labels if "cluster" not in label}
            for each in parameters
        ],
    }


# --- the table ------------------------------------------------------------------------------------


@cases(MOVERS | OTHERS)
def test_an_attempt_that_is_disturbed_and_made_again_ends_as_one_that_was_not(
    name: str, index: int, fault: str
) -> None:
    mover = (MOVERS | OTHERS)[name]
    undisturbed, aws = mover.arrange(), mover.arrange()
    mover.act(undisturbed)
    disturb(aws, index, fault)
    with suppress(Killed, AwsError):
        mover.act(aws)
    calm(aws)
    with suppress(BusyError):  # the first attempt has started its run
        mover.act(aws)
    if name in MOVERS:
        settle(undisturbed, mover.settings)
        settle(aws, mover.settings)

    expected, found = outcome(name, undisturbed), outcome(name, aws)
    call = calls_of(mover)[index]
    if call == "_publish" and fault in ("throttled", "never arrived"):
        found["told"] = expected["told"] = []  # a topic that does not work changes nothing else
    if call == "label" or (call, fault) == ("_publish", "killed after"):
        # What cannot be remembered is told twice rather than never.
        found["told"] = list(dict.fromkeys(found["told"]))  # type: ignore[call-overload]
    assert found == expected


# The calls that look up what is only good to know: the age of the data, where a run failed, what is under way.
OPTIONAL = {
    "reconcile a success": [9],
    "reconcile a failure": [10],
    "reconcile a late failure": [9, 11, 12],
    "reconcile a preparation": [6],
    "hold": [1, 2],
    "resume": [2, 3],
}


@cases(MOVERS | OTHERS, "throttled")
def test_a_call_that_aws_refuses_is_raised_and_told_where_nobody_waits_for_the_answer(
    name: str, index: int, fault: str
) -> None:
    mover = (MOVERS | OTHERS)[name]
    aws = mover.arrange()
    before, values, call = len(aws.notifier.sent), aws.values(), calls_of(mover)[index]
    disturb(aws, index, fault)
    is_optional = call == "_publish" or index in OPTIONAL.get(name, [])
    with nullcontext() if is_optional else pytest.raises(AwsError, match=f"{call} of it failed"):
        mover.act(aws)
    if mover.told and call != "_publish":
        (told,) = aws.notifier.sent[before:]
        assert told.subject.startswith(f"{mover.told}{call} ThrottlingException (")
    if name in STARTING:
        assert aws.values() == values


@cases(MOVERS)
def test_an_attempt_that_is_disturbed_and_never_made_again_leaves_nothing_half_done(
    name: str, index: int, fault: str
) -> None:
    mover = MOVERS[name]
    parameters = [each.current_parameter for each in mover.settings.databases]
    aws = mover.arrange()
    disturb(aws, index, fault)
    with suppress(Killed, AwsError):
        mover.act(aws)
    calm(aws, minutes=0)
    settle(aws, mover.settings)
    assert [aws.values()[each] for each in parameters] == [
        aws.stacks.restored_from(each) for each in parameters
    ]
    settled = [aws.parameters.kept[each] for each in parameters], subjects(aws)
    polls(mover.settings, aws, times=8)
    assert ([aws.parameters.kept[each] for each in parameters], subjects(aws)) == settled


@pytest.mark.parametrize("name", STARTING)
def test_a_start_that_is_refused_is_undone_and_told_by_its_error_alone(name: str) -> None:
    aws = STARTING[name].arrange()
    before, values, told = ledger(aws), aws.values(), subjects(aws)
    refuse(aws, "start")
    with pytest.raises(AwsError, match="start of it failed"):
        STARTING[name].act(aws)
    assert aws.values() == values
    undone, moved = ("new", "old") if name == "rollback" else ("old", "new")
    action = name.partition(" ")[0]
    assert ledger(aws)[len(before) :] == [(action, moved), ("undo", undone)]
    calm(aws)
    polls(STARTING[name].settings, aws, times=4)
    expected = [
        f"REFRESH FAILED: start AccessDeniedException ({','.join(STARTING[name].settings.names)})"
    ]
    assert subjects(aws)[len(told) :] == (expected if STARTING[name].told else [])


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
    polls(STARTING[name].settings, aws, times=2)
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
    if name not in ("pin", "rollback"):
        assert STARTING[name].act(aws).reason == "pipeline-missing"  # type: ignore[attr-defined]
    else:
        with pytest.raises(Refused, match="there is no pipeline named"):
            STARTING[name].act(aws)
    assert aws.values() == values
