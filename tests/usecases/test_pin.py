"""PUT /snapshots/current and its rollback: a person sets `current`.

`Night.ask` checks that a request that is refused writes nothing.
"""

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.errors import AwsError, BusyError
from chalicelib.domain.ledger import Note
from tests.fakes import ACCEPTANCE, arn, snapshot
from tests.interruptions import meanwhile
from tests.stage import CURRENT, LATEST, PIPELINE, PIPELINE_NAME
from tests.usecases.names import HIDDEN, KIM, NEW, OLD, SECRET, SUNDAY
from tests.usecases.night import Night, documented, refused
from tests.usecases.states import Arrange, holding, listing, without

ROUTE = "/snapshots/current"
BACK = "/snapshots/current/rollback"


def answer(**facts: Any) -> tuple[int, dict[str, Any]]:
    return 200, documented("pin") | facts


@pytest.mark.parametrize(("asked", "found_by"), [(NEW, "find"), ("new", "named")])
def test_a_pin_with_deploy_starts_its_run(night: Night, asked: str, found_by: str) -> None:
    """A search by name is two requests: one for own snapshots, one for shares."""
    body = {"snapshot": asked, "deploy": True}
    assert night.ask("PUT", ROUTE, body) == answer(execution_id="run-2")
    assert night.aws.calls == ["get", found_by, "history", "runs", "put", "start"]
    assert night.aws.pipelines.start(PIPELINE, str(night.present().token)) == "run-2"


@pytest.mark.parametrize(
    ("asked", "current"),
    [("NEW", NEW), ("Latest", NEW), ("before-test", arn("before-test", ACCEPTANCE))],
)
def test_a_pin_by_any_name_waits_for_the_next_run(night: Night, asked: str, current: str) -> None:
    night.offer("before-test", account=ACCEPTANCE, cluster="acceptance-orders")
    body = {"snapshot": asked, "reason": "regression of March"}
    assert night.ask("PUT", ROUTE, body) == answer(current=current)
    assert (night.current, night.started) == (current, [])
    assert night.present().note == Note("pin", KIM, "regression of March", None)


def test_a_pin_of_a_value_that_is_already_pinned_writes_nothing(night: Night) -> None:
    """Neither what a revert wrote counts as such a request, nor a value that waits for its own run."""
    assert night.ask("PUT", ROUTE, {"snapshot": OLD}) == answer(current=OLD, version=1)
    night.promote()
    night.run_is_over("Failed")
    assert night.pin("old")["version"] == 4
    night.pin("new", deploy=True)
    night.pin("new")
    puts = [("revert", "old"), ("pin", "old"), ("pin", "new"), ("pin", "new")]
    assert (night.ledger[2:], night.present().token) == (puts, None)


# --- what is refused ------------------------------------------------------------------------------

ROLLBACK = None
HOSTILE = arn("hostile", "9" * 12)
ELSEWHERE = arn("there").replace("eu-west-1", "us-east-1")
OWN_ELSEWHERE = arn("there", ACCEPTANCE).replace("eu-west-1", "us-east-1")
WRONG_ACCOUNT = f"{HOSTILE} cannot be pinned: account 999999999999, expected 111111111111"
COPIES_ONLY = (
    "{} cannot be pinned: production shares in us-east-1, so this stage restores snapshots of its own account "
    "and Region only; pin latest or another one of these"
)
NAMESAKE = (
    f"{NEW} is newer than the snapshot of this name that is deployed, so CloudFormation would restore nothing: "
    "give each snapshot a name of its own, or set RDS_COPY_KMS_KEY_ID"
)
DELETING = f"{OLD} cannot be pinned: status deleting, expected available"
NO_PIPELINE = "there is no pipeline named elsewhere"
NO_NAME = f"{PIPELINE_NAME} holds {HIDDEN}, not a pipeline's name"
BUSY = (
    "pipeline acceptance-main is busy: run run-3 has been in progress since 2026-01-04 05:01 UTC; "
    "try again when it has ended"
)
SEVERAL = (
    "several snapshots are named twice; give the ARN of one: "
    f"{arn('twice')}, {arn('twice', ACCEPTANCE)}"
)


def shared_elsewhere(night: Night) -> None:
    region = {"AWS_DEFAULT_REGION": "eu-west-1", "SOURCE_REGION": "us-east-1"}
    night.configure(**region, RDS_COPY_KMS_KEY_ID="alias/a")
    night.offer("there", arn=ELSEWHERE)
    night.offer("own", account=ACCEPTANCE, arn=OWN_ELSEWHERE)


@pytest.mark.parametrize(
    ("asked", "arrange", "message"),
    [
        ("latest", holding(LATEST, "dummyvalue"), f"{LATEST} names no snapshot yet"),
        (HOSTILE, listing(snapshot("hostile", "9" * 12)), WRONG_ACCOUNT),
        (ELSEWHERE, shared_elsewhere, COPIES_ONLY.format(ELSEWHERE)),
        (OWN_ELSEWHERE, shared_elsewhere, COPIES_ONLY.format(OWN_ELSEWHERE)),
        (NEW, shared_elsewhere, COPIES_ONLY.format(NEW)),
        ("twice", listing(snapshot("twice"), snapshot("twice", ACCEPTANCE)), SEVERAL),
        ("new", listing(snapshot("new", created=SUNDAY + timedelta(hours=1))), NAMESAKE),
        ("old", Night.push, BUSY),
        (ROLLBACK, Night.push, BUSY),
        ("old", holding(PIPELINE_NAME, "elsewhere"), NO_PIPELINE),
        (ROLLBACK, holding(PIPELINE_NAME, SECRET), NO_NAME),
        # A rollback takes no older one either.
        (ROLLBACK, without(CURRENT), f"{CURRENT} has no earlier snapshot to roll back to"),
        (ROLLBACK, listing(), f"the previous snapshot, {OLD}, no longer exists"),
        (ROLLBACK, listing(snapshot("old", status="deleting")), DELETING),
    ],
)
def test_a_refused_pin_or_rollback_says_why_and_writes_nothing(
    refreshed: Night, asked: str | None, arrange: Arrange, message: str
) -> None:
    arrange(refreshed)
    body = {"deploy": True}
    if asked is ROLLBACK:
        assert refreshed.ask("POST", BACK, body) == refused(message)
    else:
        assert refreshed.ask("PUT", ROUTE, body | {"snapshot": asked}) == refused(message)


def test_a_pin_that_waits_is_withdrawn_although_the_deployed_name_was_given_again(
    refreshed: Night,
) -> None:
    refreshed.pin("old")
    refreshed.aws.snapshots.all.remove(snapshot("new"))
    refreshed.offer("new", created=SUNDAY + timedelta(hours=1))
    assert refreshed.rollback(deploy=False)["current"] == NEW


def test_a_copy_is_pinned_although_shares_are_in_another_region(night: Night) -> None:
    shared_elsewhere(night)
    night.offer("here", account=ACCEPTANCE)
    assert night.pin("here")["current"] == arn("here", ACCEPTANCE)


def test_a_run_that_begins_while_rds_is_asked_is_not_overlooked(night: Night) -> None:
    meanwhile(night.aws, "before", "find", night.push)
    with pytest.raises(BusyError):
        night.pin(NEW, deploy=True)
    assert (night.current, night.started) == (OLD, [])


def test_a_snapshot_that_nobody_has_is_not_found(night: Night) -> None:
    message = "no snapshot of this account, and none that 111111111111 shares with it is called unheard-of"
    expected = 404, {"Code": "NotFoundError", "Message": message}
    assert night.ask("PUT", ROUTE, {"snapshot": "unheard-of"}) == expected


def test_a_put_whose_answer_was_lost_is_found_although_its_reason_was_cut(night: Night) -> None:
    def lose_answer() -> None:
        raise AwsError("put", CURRENT, "ReadTimeoutError", "", answered=False)

    meanwhile(night.aws, "after", "put", lose_answer)
    assert night.pin("new", reason="because " * 200)["version"] == 2


# --- back to the snapshot before ------------------------------------------------------------------


def test_a_rollback_goes_to_the_value_before_and_waits_for_a_run(refreshed: Night) -> None:
    expected = answer(current=OLD, previous=NEW, version=3)
    assert refreshed.ask("POST", BACK, {"reason": "regression"}) == expected
    assert refreshed.present().note == Note("rollback", KIM, "regression", None)
    assert refreshed.started == ["run-2"]


def test_a_rollback_after_one_that_had_its_run_goes_one_step_further(refreshed: Night) -> None:
    """Soon after it, and later, when its run is forgotten."""
    refreshed.rollback()
    refreshed.run_ends(minutes=5)
    assert refreshed.rollback()["current"] == NEW
    refreshed.run_is_over()
    del refreshed.aws.pipelines.pipelines[PIPELINE][:]
    assert refreshed.rollback()["current"] == OLD


def test_a_rollback_soon_after_a_killed_pin_does_not_start_the_pins_run(night: Night) -> None:
    night.aws.parameters.put(CURRENT, NEW, Note("pin", KIM, "", "a-token"))
    with pytest.raises(BusyError, match="may be about to start"):
        night.rollback()
    assert night.started == []
