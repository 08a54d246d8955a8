"""POST /snapshots/current/rollback: a person goes back to the snapshot before."""

from datetime import timedelta

import pytest

from chalicelib.domain.errors import BusyError
from chalicelib.domain.ledger import Note
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.pin import PinRequest, PinResult, pin, rollback
from chalicelib.usecases.promote import promote
from tests.fakes import ACCEPTANCE, InMemoryAws, arn, snapshot
from tests.interruptions import Killed, calm, kill
from tests.stage import CURRENT, LATEST, OTHER_CURRENT
from tests.usecases.conftest import (
    KIM,
    SUNDAY,
    Api,
    Arrange,
    ends,
    everything,
    ledger,
    listing,
    malformed,
    polls,
    present,
    refused,
    running,
    started,
    without,
)

ROUTE = "/snapshots/current/rollback"


@pytest.fixture
def moved(settings: Settings, aws: InMemoryAws) -> InMemoryAws:
    """`current` was old, and is new; run-2 has restored it."""
    promote(settings, aws, SUNDAY)
    ends(aws)
    polls(settings, aws)
    aws.calls.clear()
    aws.notifier.sent.clear()
    return aws


def back(settings: Settings, aws: InMemoryAws, *, deploy: bool = False) -> PinResult:
    return rollback(settings, aws, settings.databases[0], KIM, "it is broken", deploy=deploy)


def test_a_rollback_goes_to_the_value_before_and_waits_for_a_run(
    ask: Api, moved: InMemoryAws
) -> None:
    assert ask("POST", ROUTE, {"reason": "regression"}) == (
        200,
        {
            "current": arn("old"),
            "previous": arn("new"),
            "version": 3,
            "execution_id": None,
            "under_way": None,
        },
    )
    assert present(moved).note == Note("rollback", KIM, "regression", None)
    assert started(moved) == ["run-2"]


def test_a_rollback_with_deploy_starts_the_run_that_restores_it(
    settings: Settings, moved: InMemoryAws
) -> None:
    assert back(settings, moved, deploy=True) == PinResult(arn("old"), arn("new"), 3, "run-3", None)
    assert present(moved).note == Note("rollback", KIM, "it is broken", present(moved).token)
    ends(moved)
    polls(settings, moved)
    assert moved.stacks.restored_from(CURRENT) == arn("old")


@pytest.mark.parametrize(
    ("values", "goes_to"),
    [
        (["dummyvalue", "postgres://admin:secret@db", arn("new"), arn("new")], arn("old")),
        ([arn("newest")], arn("new")),
        (["dummyvalue"], arn("new")),
        ([arn("before-test", ACCEPTANCE), arn("new")], arn("before-test", ACCEPTANCE)),
    ],
)
def test_a_rollback_goes_to_the_newest_earlier_snapshot_that_differs(
    ask: Api, moved: InMemoryAws, values: list[str], goes_to: str
) -> None:
    moved.snapshots.all = [
        snapshot("new"),
        snapshot("newest"),
        snapshot("old", created=SUNDAY - timedelta(days=999)),
        snapshot("before-test", ACCEPTANCE, cluster="acceptance-orders"),
    ]
    for value in values:
        moved.parameters.put_by_hand(CURRENT, value)
    assert ask("GET", "/status")[1]["databases"][0]["previous"] == goes_to
    status, answer = ask("POST", ROUTE, {})
    assert (status, answer["current"], "secret" in str(answer)) == (200, goes_to, False)


def test_a_rollback_of_a_rollback_goes_forward_again(
    settings: Settings, moved: InMemoryAws
) -> None:
    back(settings, moved)
    assert back(settings, moved).current == arn("new")


@pytest.mark.parametrize("deploy", [False, True])
@pytest.mark.parametrize(
    ("arrange", "message"),
    [
        (without(CURRENT), f"{CURRENT} has held no other snapshot to go back to"),
        (
            lambda aws: aws.parameters.kept[CURRENT].pop(0),
            f"{CURRENT} has held no other snapshot to go back to",
        ),
        (listing(snapshot("new")), f"{arn('old')}, the one before, does not exist any more"),
        (
            listing(snapshot("old", engine_version="16.1")),
            f"{arn('old')} cannot be pinned: engine version 16.1, expected 15",
        ),
        (
            listing(snapshot("old", status="deleting")),
            f"{arn('old')} cannot be pinned: status deleting, expected available",
        ),
    ],
    ids=["missing", "first", "gone", "version", "status"],
)
def test_a_refused_rollback_says_why_writes_nothing_and_takes_no_older_one(
    ask: Api, moved: InMemoryAws, arrange: Arrange, message: str, deploy: bool
) -> None:
    arrange(moved)
    before = everything(moved)
    assert ask("POST", ROUTE, {"deploy": deploy}) == refused(message)
    assert everything(moved) == before


def test_a_busy_pipeline_is_named_by_a_rollback_that_waits(ask: Api, moved: InMemoryAws) -> None:
    running()(moved)
    status, answer = ask("POST", ROUTE, {})
    assert (status, answer["current"]) == (200, arn("old"))
    assert answer["under_way"].startswith("run run-3 is in progress since")


def test_asked_again_it_goes_forward_only_after_its_run(
    settings: Settings, moved: InMemoryAws
) -> None:
    """Whoever got no answer asks again."""
    back(settings, moved, deploy=True)
    moved.time += timedelta(minutes=1)
    with pytest.raises(BusyError, match="busy with run run-3"):
        back(settings, moved, deploy=True)
    ends(moved)
    assert back(settings, moved, deploy=True).current == arn("new")


def test_a_killed_rollback_can_be_completed_by_a_pin(
    settings: Settings, moved: InMemoryAws
) -> None:
    kill(moved, "before", "start")
    with pytest.raises(Killed):
        back(settings, moved, deploy=True)
    calm(moved)
    token = present(moved).token
    request = PinRequest("old", KIM, "", deploy=True)
    assert pin(settings, moved, settings.databases[0], request).execution_id == "run-3"
    assert (len(ledger(moved)), present(moved).token) == (3, token)


def test_the_schedule_promotes_over_a_rollback_next_time_but_no_retry_does(
    settings: Settings, moved: InMemoryAws
) -> None:
    """A rollback is no hold: whoever wants to stay sets one."""
    back(settings, moved)
    moved.time = SUNDAY + timedelta(hours=2)
    assert promote(settings, moved, SUNDAY).reason == "nothing-new"
    assert moved.values()[CURRENT] == arn("old")
    moved.time = SUNDAY + timedelta(days=14)
    moved.snapshots.all.append(snapshot("newest", created=moved.time - timedelta(hours=6)))
    moved.parameters.put_by_hand(LATEST, arn("newest"))
    assert promote(settings, moved, moved.time).outcome == "started"
    assert moved.values()[CURRENT] == arn("newest")


def test_one_of_several_databases_goes_back(two: Settings, documents: InMemoryAws) -> None:
    documents.parameters.put_by_hand(OTHER_CURRENT, arn("docs-new"))
    ask = Api(two, documents)
    assert ask("POST", ROUTE, {"database": "docs"})[1]["current"] == arn("docs-old")
    assert ask("POST", f"{ROUTE}?database=docs", {})[1]["current"] == arn("docs-new")
    assert ask("POST", ROUTE, {}) == malformed("database is missing: name one of rds, docs")
    assert documents.values()[CURRENT] == arn("old")
