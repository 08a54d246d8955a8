"""PUT /snapshots/current and its rollback: a person sets `current`."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.deployment import Position
from chalicelib.domain.errors import BusyError, Refused
from chalicelib.domain.ledger import Note
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.pin import PinRequest, PinResult, pin, rollback
from chalicelib.usecases.promote import promote
from tests.fakes import ACCEPTANCE, InMemoryAws, arn, snapshot
from tests.interruptions import lose, refuse
from tests.stage import CURRENT, LATEST, OTHER_CURRENT, PIPELINE, PIPELINE_NAME, STAGE
from tests.usecases.conftest import (
    BUSY,
    KIM,
    SUNDAY,
    Api,
    Arrange,
    ends,
    everything,
    holding,
    ledger,
    listing,
    malformed,
    polls,
    present,
    push,
    refused,
    running,
    started,
    without,
)

ROUTE = "/snapshots/current"
BACK = "/snapshots/current/rollback"

Put = Callable[[Any], tuple[int, Any]]


@pytest.fixture
def put(ask: Api) -> Put:
    return lambda body: ask("PUT", ROUTE, body)


def answer(**facts: Any) -> tuple[int, dict[str, Any]]:
    found = {"current": arn("new"), "previous": arn("old"), "version": 2}
    return 200, found | {"execution_id": None, "under_way": None} | facts


def test_a_pin_waits_for_whichever_run_comes_next(put: Put, aws: InMemoryAws) -> None:
    assert put({"snapshot": arn("new"), "reason": "regression of March"}) == answer()
    assert present(aws).value == arn("new")
    assert present(aws).note == Note("pin", KIM, "regression of March", None)
    assert started(aws) == []


def test_a_pin_with_deploy_starts_the_run_that_restores_it(put: Put, aws: InMemoryAws) -> None:
    assert put({"snapshot": arn("new"), "deploy": True}) == answer(execution_id="run-2")
    assert aws.calls == ["get", "find", "history", "runs", "put", "start"]
    assert aws.pipelines.start(PIPELINE, str(present(aws).token)) == "run-2"


@pytest.mark.parametrize(
    ("asked", "pinned"),
    [
        ("new", arn("new")),
        ("NEW", arn("new")),
        (arn("New"), arn("new")),
        ("Latest", arn("new")),
        ("ancient", arn("ancient")),
        ("before-test", arn("before-test", ACCEPTANCE)),
    ],
)
def test_a_snapshot_is_named_by_its_arn_its_identifier_or_as_latest(
    put: Put, aws: InMemoryAws, asked: str, pinned: str
) -> None:
    aws.snapshots.all += [
        snapshot("ancient", created=aws.time - timedelta(days=999)),
        snapshot("before-test", ACCEPTANCE, cluster="acceptance-orders"),
    ]
    assert put({"snapshot": asked}) == answer(current=pinned)
    assert aws.values()[CURRENT] == pinned


def test_a_snapshot_that_is_pinned_already_is_not_written_again(put: Put, aws: InMemoryAws) -> None:
    assert put({"snapshot": "old"}) == answer(current=arn("old"), version=1)
    assert len(ledger(aws)) == 1


def test_a_value_that_waits_for_its_own_run_is_pinned_by_a_version_of_its_own(
    put: Put, aws: InMemoryAws
) -> None:
    put({"snapshot": "new", "deploy": True})
    put({"snapshot": "new"})
    assert ledger(aws)[1:] == [("pin", "new"), ("pin", "new")]
    assert present(aws).token is None


def test_a_current_that_does_not_exist_is_created(put: Put, aws: InMemoryAws) -> None:
    del aws.parameters.kept[CURRENT]
    assert put({"snapshot": "new"}) == answer(previous=None, version=1)


@pytest.mark.parametrize(
    ("arrange", "under_way"),
    [
        (running(), "run run-2 is in progress since 2026-01-04 04:00 UTC"),
        (
            lambda aws: aws.pipelines.waiting.update(
                {push(aws): Position("Approve", "Manual", SUNDAY, "an approval")}
            ),
            (
                "run run-2 is in progress since 2026-01-04 04:00 UTC, waiting for an approval in stage "
                "Approve, action Manual since 2026-01-04 04:00 UTC"
            ),
        ),
        (
            lambda aws: refuse(aws, "runs"),
            "whether a run is in progress is unknown: runs of it failed: AccessDeniedException: no",
        ),
        (
            without(PIPELINE_NAME),
            f"whether a run is in progress is unknown: no parameter {PIPELINE_NAME}",
        ),
    ],
    ids=["busy", "waiting", "denied", "unnamed"],
)
def test_the_answer_names_a_run_under_way_which_will_restore_the_pin(
    put: Put, aws: InMemoryAws, arrange: Arrange, under_way: str
) -> None:
    arrange(aws)
    assert put({"snapshot": "new"}) == answer(under_way=under_way)


def unknown(value: str) -> tuple[int, dict[str, str]]:
    message = f"there is no snapshot {value}, neither own nor shared"
    return 404, {"Code": "NotFoundError", "Message": message}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("unheard-of", unknown("unheard-of")),
        (arn("new", "9" * 12), unknown(arn("new", "9" * 12))),
        (
            arn("hostile", "9" * 12),
            refused(
                f"{arn('hostile', '9' * 12)} cannot be pinned: account 999999999999, expected "
                "111111111111"
            ),
        ),
        (
            "making",
            refused(f"{arn('making')} cannot be pinned: status creating, expected available"),
        ),
        (
            "twice",
            refused(
                "twice is the name of several snapshots; name one by its ARN: "
                f"{arn('twice')}, {arn('twice', ACCEPTANCE)}"
            ),
        ),
    ],
)
@pytest.mark.parametrize("deploy", [False, True])
def test_a_refused_pin_says_why_and_writes_nothing(
    put: Put, aws: InMemoryAws, asked: str, expected: tuple[int, dict[str, str]], deploy: bool
) -> None:
    aws.snapshots.all += [
        snapshot("hostile", "9" * 12),
        snapshot("making", status="creating"),
        snapshot("twice"),
        snapshot("twice", ACCEPTANCE),
    ]
    before = everything(aws)
    assert put({"snapshot": asked, "deploy": deploy}) == expected
    assert everything(aws) == before


@pytest.mark.parametrize(
    ("arrange", "expected"),
    [
        (without(LATEST), refused(f"{LATEST} names no snapshot yet")),
        (holding(LATEST, "dummyvalue"), refused(f"{LATEST} names no snapshot yet")),
        (lambda aws: aws.snapshots.all.clear(), unknown(arn("new"))),
    ],
    ids=["missing", "placeholder", "gone"],
)
def test_latest_is_refused_while_it_names_no_snapshot(
    put: Put, aws: InMemoryAws, arrange: Arrange, expected: tuple[int, dict[str, str]]
) -> None:
    arrange(aws)
    assert put({"snapshot": "latest"}) == expected


@pytest.mark.parametrize("path", [ROUTE, BACK])
@pytest.mark.parametrize(
    ("arrange", "message"),
    [
        (running(), BUSY),
        (running("Stopping"), BUSY),
        (without(PIPELINE_NAME), f"no parameter {PIPELINE_NAME}"),
        (holding(PIPELINE_NAME, "elsewhere"), "there is no pipeline named elsewhere"),
        (
            holding(PIPELINE_NAME, "postgres://admin:secret@db"),
            f"{PIPELINE_NAME} holds something else, 26 characters long, not a pipeline's name",
        ),
    ],
    ids=["busy", "stopping", "missing", "unknown", "secret"],
)
def test_a_deploy_is_refused_by_a_pipeline_that_cannot_take_it_and_nothing_is_written(
    ask: Api, aws: InMemoryAws, arrange: Arrange, message: str, path: str
) -> None:
    before_old = aws.parameters.kept[CURRENT][0]._replace(value=arn("new"))
    aws.parameters.kept[CURRENT][:0] = [before_old]  # something to roll back to
    arrange(aws)
    before = everything(aws)
    body = {"deploy": True} | ({"snapshot": "new"} if path == ROUTE else {})
    assert ask("PUT" if path == ROUTE else "POST", path, body) == refused(message)
    assert everything(aws) == before


def test_a_put_whose_answer_was_lost_is_found_although_its_reason_was_cut(
    settings: Settings, aws: InMemoryAws
) -> None:
    lose(aws, "after", "put")
    request = PinRequest("new", "kim", "because " * 200, deploy=False)
    assert pin(settings, aws, settings.databases[0], request).version == 2


def test_a_share_of_another_region_is_not_pinned(aws: InMemoryAws) -> None:
    elsewhere = {"AWS_DEFAULT_REGION": "eu-west-1", "SOURCE_REGION": "us-east-1"}
    settings = Settings.from_environment(STAGE | elsewhere | {"RDS_COPY_KMS_KEY_ID": "alias/a"})
    share = arn("there").replace("eu-west-1", "us-east-1")
    aws.snapshots.all.append(snapshot("there", arn=share))
    request = PinRequest(share, "kim", "", deploy=False)
    before = everything(aws)
    with pytest.raises(Refused, match=f"^{share} cannot be pinned: it is in us-east-1, and ") as e:
        pin(settings, aws, settings.databases[0], request)
    assert (e.value.reason, everything(aws)) == ("not-eligible", before)


# --- back to the snapshot before -------------------------------------------------------------------


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
    assert ask("POST", BACK, {"reason": "regression"}) == (
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
    status, answer = ask("POST", BACK, {})
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
    assert ask("POST", BACK, {"deploy": deploy}) == refused(message)
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
    assert ask("POST", BACK, {"database": "docs"})[1]["current"] == arn("docs-old")
    assert ask("POST", f"{BACK}?database=docs", {})[1]["current"] == arn("docs-new")
    assert ask("POST", BACK, {}) == malformed("database is missing: name one of rds, docs")
    assert documents.values()[CURRENT] == arn("old")
