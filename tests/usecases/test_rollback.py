"""POST /snapshots/current/rollback: a person goes back to the snapshot before."""

from datetime import timedelta

import pytest

from chalicelib.domain.errors import BusyError
from chalicelib.domain.ledger import Note
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.pin import PinResult, rollback
from chalicelib.usecases.promote import promote
from tests.fakes import ACCEPTANCE, InMemoryAws, arn, snapshot
from tests.stage import CURRENT, OTHER_CURRENT
from tests.usecases.conftest import (
    KIM,
    SUNDAY,
    Api,
    Arrange,
    ends,
    everything,
    listing,
    malformed,
    polls,
    present,
    refused,
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


def test_one_of_several_databases_goes_back(two: Settings, documents: InMemoryAws) -> None:
    documents.parameters.put_by_hand(OTHER_CURRENT, arn("docs-new"))
    ask = Api(two, documents)
    assert ask("POST", ROUTE, {"database": "docs"})[1]["current"] == arn("docs-old")
    assert ask("POST", f"{ROUTE}?database=docs", {})[1]["current"] == arn("docs-new")
    assert ask("POST", ROUTE, {}) == malformed("database is missing: name one of rds, docs")
    assert documents.values()[CURRENT] == arn("old")
