"""GET /status, /snapshots and /snapshots/current/history: asking changes nothing (see `Night.ask`)."""

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.deployment import Position
from chalicelib.domain.reasons import Reason
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.promote import promote
from tests.fakes import ACCEPTANCE, STACK, InMemoryAws, arn, snapshot
from tests.interruptions import calm
from tests.stage import CURRENT, LATEST, OTHER_LATEST, PIPELINE, PIPELINE_NAME, STAGE
from tests.usecases.names import HIDDEN, HOLD, IN_PROGRESS, NEW, OLD, SECRET, SUNDAY, WAITING
from tests.usecases.night import Night, documented
from tests.usecases.states import (
    Arrange,
    at,
    configured,
    denied,
    hold_until,
    holding,
    in_turn,
    listing,
    no_stack,
    stack_in,
    waits_for_approval,
    without,
)
from tests.usecases.test_promote import NO_ARN, REFUSALS, UNREADABLE
from tests.usecases.test_update import UNCHOSEN


def get(night: Night, path: str) -> Any:
    code, answer = night.ask("GET", path)
    assert code == 200
    return answer


# --- status ---------------------------------------------------------------------------------------


def test_the_whole_status_after_a_refresh(refreshed: Night) -> None:
    assert get(refreshed, "/status") == documented("status")


def test_a_fresh_account_in_which_there_is_nothing(night: Night) -> None:
    night.aws = InMemoryAws(SUNDAY)
    found = night.status()
    nothing = (
        *("latest", "current", "previous", "deployed", "deployed_since", "preparation", "created"),
        *("age_hours", "version", "since", "action", "by", "why", "restoring"),
    )
    facts = {"name": "rds", "stack": STACK, "good": False, "waiting": False, "state": "empty"}
    assert found["databases"] == [facts | dict.fromkeys(nothing) | {"blocks_refresh": True}]
    assert found["pipeline"] == {"name": None, "last_run": None, "under_way": None}
    assert found["problems"] == [
        f"parameter not found: {name}. {Reason.PARAMETER_MISSING.next_step}"
        for name in (PIPELINE_NAME, LATEST)
    ]


def test_a_run_under_way_is_named_with_where_it_is_and_what_it_restores(promoted: Night) -> None:
    position = Position("Approve", "Manual", SUNDAY, "an approval")
    promoted.aws.pipelines.waiting["run-2"] = position
    found = promoted.status()
    assert found["pipeline"]["under_way"] == {
        "execution_id": "run-2",
        "status": "InProgress",
        **dict.fromkeys(("started", "updated"), "2026-01-04T04:00:00+00:00"),
        "stage": "Approve",
        "action": "Manual",
        "waits_for": "an approval",
        "restores": f"rds from {NEW}",
    }
    assert found["problems"] == []
    (entry,) = found["databases"]
    assert (entry["current"], entry["deployed"], entry["previous"]) == (NEW, OLD, OLD)
    assert entry["created"] == "2025-12-25T13:00:00+00:00"  # what is deployed
    assert entry["good"] is False  # of what current holds


def test_a_deploy_restores_what_it_has_read_whatever_is_pinned_since(promoted: Night) -> None:
    promoted.offer("third")
    promoted.pin("third")
    promoted.aws.time += timedelta(minutes=5)
    promoted.aws.pipelines.deploy(PIPELINE, "InProgress")
    for status in ("UPDATE_COMPLETE", "UPDATE_IN_PROGRESS"):  # not begun, and begun
        promoted.aws.stacks.set_status(status)
        promoted.aws.time += timedelta(minutes=5)
        promoted.pin("old")
        restored = promoted.status()["pipeline"]["under_way"]["restores"]
        assert restored == f"rds from {arn('third')}"


def test_what_a_script_deploys_is_taken_for_the_order_s_whatever_is_pinned(promoted: Night) -> None:
    promoted.aws.stacks.set_status("UPDATE_IN_PROGRESS")  # of which no action tells
    promoted.pin("old")
    assert promoted.status()["pipeline"]["under_way"]["restores"] == f"rds from {NEW}"


def test_a_run_that_is_past_its_deploy_stage_restores_nothing_more(promoted: Night) -> None:
    promoted.aws.time += timedelta(minutes=30)
    promoted.aws.pipelines.deploy(PIPELINE)
    promoted.polls()
    promoted.pin("old")
    promoted.aws.time += timedelta(hours=3)
    under_way = promoted.status()["pipeline"]["under_way"]
    assert (under_way["execution_id"], under_way["restores"]) == ("run-2", None)
    promoted.push()
    found = promoted.status()
    under_way = found["pipeline"]["under_way"]
    assert (under_way["execution_id"], under_way["restores"]) == ("run-3", f"rds from {OLD}")
    assert f"{IN_PROGRESS}." in found["problems"]


def test_an_unreadable_hold_is_one_and_a_problem(night: Night) -> None:
    night.set(HOLD, "until thursday")
    found = night.status()
    assert found["hold"] == {"until": None, "reason": UNREADABLE, "by": "unknown"}
    assert found["schedule"]["next_restore"] is None
    assert found["problems"] == [f"{UNREADABLE}. Set a new hold, or lift it."]


def test_an_update_is_foreseen_at_any_hour_and_a_restore_inside_the_window(night: Night) -> None:
    night.configure(UPDATE_SCHEDULE="cron(0 12 * * ? *)", RESTORE_SCHEDULE="cron(0 4,12 * * ? *)")
    schedule = night.status()["schedule"]
    assert schedule["next_update"] == "2026-01-04T12:00:00+00:00"
    assert schedule["next_restore"] == "2026-01-05T04:00:00+00:00"


def test_each_database_has_its_own_facts(two: Night) -> None:
    two.set(OTHER_LATEST, "dummyvalue")
    found = two.status()
    assert [(each["name"], each["latest"], each["deployed"]) for each in found["databases"]] == [
        ("rds", NEW, OLD),
        ("docs", None, arn("docs-old")),
    ]
    why = f"{OTHER_LATEST} holds dummyvalue, {NO_ARN}. {Reason.NO_LATEST.next_step}"
    assert found["problems"] == [f"docs: latest would not be promoted: {why} {FOR_ALL}"]
    for name, chosen, present in (("rds", NEW, OLD), ("docs", arn("docs-new"), arn("docs-old"))):
        shares = get(two, f"/snapshots?database={name}")["snapshots"]
        assert [each["arn"] for each in shares if each["chosen"]] == [chosen]
        versions = get(two, f"/snapshots/current/history?database={name}")["history"]
        assert [each["snapshot"] for each in versions] == [present]


def test_one_database_that_cannot_be_refreshed_holds_up_the_other(two: Night) -> None:
    """They are promoted together or not at all."""
    two.set(OTHER_LATEST, arn("docs-old"))
    for days in (15, 1):  # docs is too old to be promoted again, but not yet stale
        two.aws.time += timedelta(days=days)
        assert two.status()["databases"][1]["blocks_refresh"] == (two.promote().outcome == "failed")
    two.offer("newest", created=two.aws.time)
    two.set(LATEST, arn("newest"))
    found = two.status()
    _, stale = found["problems"]
    assert [each["blocks_refresh"] for each in found["databases"]] == [False, True]
    assert stale.startswith("docs: the deployed data is more than 16 days old; ")
    assert stale.endswith(f"{NOTHING_NEWER} {FOR_ALL}")


def test_a_deleted_current_is_a_problem_and_hides_no_deployed_data(refreshed: Night) -> None:
    refreshed.aws.parameters.kept.pop(CURRENT)
    found = refreshed.status()
    (facts,) = found["databases"]
    assert (facts["deployed"], facts["state"], facts["current"]) == (NEW, "good", None)
    (problem,) = found["problems"]
    missing = f"rds: {CURRENT} does not exist, so the next run of the pipeline fails: "
    assert problem.startswith(missing)
    refreshed.refresh()  # which creates it again, and restores nothing
    refreshed.run_is_over()
    assert (refreshed.current, refreshed.status()["problems"]) == (NEW, [])


@pytest.mark.parametrize("stack", [STACK, ""])
def test_the_age_is_known_once_production_has_deleted_the_share(night: Night, stack: str) -> None:
    night.configure(RDS_STACK_NAME=stack)
    night.pin("new")
    night.push()
    night.run_ends()
    (before,) = night.status()["databases"]
    night.aws.snapshots.remove(NEW)
    (after,) = night.status()["databases"]
    assert before["created"] is not None
    assert (after["created"], after["age_hours"]) == (before["created"], before["age_hours"])


@pytest.mark.parametrize("stack", [STACK, ""])
def test_newer_data_under_the_deployed_name_is_a_problem(refreshed: Night, stack: str) -> None:
    """CloudFormation would see no change, so that nothing was ever refreshed again."""
    refreshed.configure(RDS_STACK_NAME=stack)
    refreshed.aws.snapshots.remove(NEW)
    again = SUNDAY + timedelta(weeks=2)
    refreshed.offer("new", created=again - timedelta(hours=4))
    refreshed.aws.time = again
    result = promote(refreshed.settings, refreshed.aws, again)
    assert (result.reason, str(result.message)[-19:]) == ("not-eligible", "RDS_COPY_KMS_KEY_ID")
    found = refreshed.status()
    (facts,) = found["databases"]
    assert (facts["age_hours"], facts["blocks_refresh"]) == (342.0, True)
    why = f"{result.message}. {Reason.NOT_ELIGIBLE.next_step}"
    assert found["problems"] == [f"rds: latest would not be promoted: {why}"]


# --- the table: the state of the account, and the problem that the status names --------------------


def old_is_from(days: int) -> Arrange:
    return listing(snapshot("new"), snapshot("old", created=SUNDAY - timedelta(days=days)))


def restored_by_hand(value: str) -> Arrange:
    return in_turn(holding(CURRENT, value), Night.push, Night.run_is_over)


NO_CLUSTER = (without(CURRENT), no_stack)
DEPLOYING = in_turn(Night.push, stack_in("UPDATE_IN_PROGRESS"))
DELETED_DURING_A_RUN = in_turn(DEPLOYING, without(CURRENT))
FIRST_PIN = in_turn(*NO_CLUSTER, lambda night: night.pin("new"))


@pytest.mark.parametrize(
    ("arrange", "state"),
    [
        (Night.push, "good"),
        (old_is_from(days=16), "stale"),
        (lambda night: night.pin("new"), "waiting"),
        pytest.param(FIRST_PIN, "waiting", id="first pin"),
        (DEPLOYING, "deploying"),
        pytest.param(DELETED_DURING_A_RUN, "deploying", id="deleted during a run"),
        pytest.param(in_turn(DEPLOYING, lambda night: night.pin("new")), "restoring", id="pinned"),
        (in_turn(Night.promote, stack_in("UPDATE_IN_PROGRESS")), "restoring"),
        (stack_in("UPDATE_ROLLBACK_FAILED"), "unknown"),
        pytest.param(restored_by_hand("before-migration"), "unknown", id="a snapshot's name"),
        pytest.param(restored_by_hand("dummyvalue"), "empty", id="placeholder"),
    ],
)
def test_a_database_s_state_is_a_word(night: Night, arrange: Arrange, state: str) -> None:
    """test_preparation.py has those of after-restore work."""
    arrange(night)
    (facts,) = night.status()["databases"]
    assert (facts["state"], facts["restoring"]) == (state, NEW if state == "restoring" else None)


def promotion_that(status: str, **after: float) -> Arrange:
    """Let tonight's run fail, or go on for some time while it waits for an approval."""

    def arrange(night: Night) -> None:
        night.promote()
        waits_for_approval(night)
        if status != "InProgress":
            night.run_is_over(status)
        night.aws.time += timedelta(**after)

    return arrange


DENIED = "AccessDeniedException: no."
BEFORE_UPDATE, EARLY, LATE, LATER = (at(SUNDAY + timedelta(hours=n)) for n in (-3, -2, 2, 26))
EMPTIED, UNSET = holding(CURRENT, "dummyvalue"), holding(LATEST, "dummyvalue")
UNLIMITED = configured(MAX_SNAPSHOT_AGE_DAYS="0")
HELD, LIFTED = hold_until("2026-02-01"), holding(HOLD, "dummyvalue")
UNSEEN = "rds: cannot determine what is deployed: "
READ = "which the next run of the pipeline would read: pin the snapshot that is deployed, or another one."
RESET, WRONG = (f"rds: {CURRENT} holds {value}, {READ}" for value in ("dummyvalue", HIDDEN))
STRANGERS = arn("old", "9" * 12)
NEITHER = (
    f"rds: {STRANGERS} belongs to an account that is neither production's nor this one: pin another snapshot, "
    f"and find out who wrote {CURRENT}."
)
TOO_OLD = "rds: the deployed data is more than 16 days old; the limit is 14 days. "
REFRESH = "Refresh, or pin one and deploy it now."
NOTHING_NEWER = "Refresh once a newer snapshot is shared, or pin one and deploy it now."
FOR_ALL = "Until then, no other database is refreshed either."
MISSED = (
    "rds: the refresh due at 2026-01-04T04:00:00+00:00 did not happen. Check the "
    "notifications and the log of db-restore-from-snapshot."
)
NO_UPDATE = f"rds: latest would not be promoted: {LATEST} holds dummyvalue, {NO_ARN}. {Reason.NO_LATEST.next_step}"
WAITS = f"{WAITING}. When it continues, it restores rds from {NEW}."
LONGER = promotion_that("InProgress", hours=2, seconds=1)


def hide_the_hold(night: Night) -> None:
    night.aws.refused.append(("history", HOLD))


def ended(status: str) -> str:
    run = "the last run of acceptance-main, run-2,"
    return f"{run} ended as {status} at 2026-01-04T04:30:00+00:00. Open it to see why."


PROBLEMS: dict[str, tuple[Arrange, list[str]]] = {
    "runs denied": (denied("runs"), [f"runs of it failed: {DENIED}"]),
    "cluster denied": (denied("describe"), [f"{UNSEEN}describe of it failed: {DENIED}"]),
    "reset": (EMPTIED, [RESET]),
    "no snapshot": (holding(CURRENT, SECRET), [WRONG]),
    "a stranger's": (holding(CURRENT, STRANGERS), [NEITHER]),
    "a stranger's, deployed": (
        in_turn(holding(CURRENT, STRANGERS), Night.push, Night.run_is_over, holding(CURRENT, OLD)),
        [NEITHER],
    ),
    "reset before a first deployment": (in_turn(*NO_CLUSTER, holding(CURRENT, OLD), EMPTIED), []),
    "deleted, and its stack is unreadable": (
        in_turn(without(CURRENT), stack_in("UPDATE_ROLLBACK_FAILED")),
        [f"{UNSEEN}stack acceptance-data is UPDATE_ROLLBACK_FAILED: continue its rollback."],
    ),
    "what is deployed is no longer shared": (in_turn(holding(LATEST, OLD), listing()), []),
    "old, and not deployed": (in_turn(old_is_from(days=99), stack_in("UPDATE_IN_PROGRESS")), []),
    "old, without a limit": (in_turn(old_is_from(days=99), UNLIMITED), []),
    "as old as allowed": (old_is_from(days=15), []),
    "older": (old_is_from(days=16), [TOO_OLD + REFRESH]),
    "deleted long since": (
        in_turn(at(SUNDAY + timedelta(days=16)), UNSET, listing()),
        [TOO_OLD + NOTHING_NEWER],
    ),
    "two hours": (promotion_that("InProgress", hours=2), []),
    "longer, with a push behind it": (in_turn(LONGER, Night.push), [WAITS]),
    "longer, and nobody knows where": (
        in_turn(LONGER, holding(CURRENT, OLD), denied("positions")),
        [f"positions of it failed: {DENIED}", f"{IN_PROGRESS}."],
    ),
    "failed": (promotion_that("Failed"), [ended("Failed")]),
    "stopped": (promotion_that("Stopped"), [ended("Stopped")]),
    "cancelled": (promotion_that("Cancelled"), [ended("Cancelled")]),
    "missed": (LATE, [MISSED]),
    "held when due": (in_turn(EARLY, hold_until("2026-01-05"), LATER), []),
    "unreadable when due": (in_turn(EARLY, holding(HOLD, "x"), LATE, LIFTED), []),
    "held when due, and resumed": (in_turn(EARLY, HELD, LATE, LIFTED), []),
    "held and resumed only since": (in_turn(LATE, HELD, LIFTED), [MISSED]),
    "missed, and nobody knows of a hold": (in_turn(LATE, hide_the_hold), [MISSED]),
    "held": (in_turn(LATE, HELD), []),
    "nothing newer": (in_turn(EARLY, holding(LATEST, OLD), LATE), []),
    "newer only since": (in_turn(LATE, holding(LATEST, NEW)), []),
    "before the first update is due": (in_turn(*NO_CLUSTER, BEFORE_UPDATE, UNSET), []),
    "before the first update": (in_turn(EARLY, *NO_CLUSTER, UNSET, LATE), [NO_UPDATE]),
    "not missed yet": (in_turn(LATE, Night.push), []),
    "a rate": (in_turn(LATE, configured(RESTORE_SCHEDULE="rate(1 day)")), []),
}


@pytest.mark.parametrize(("arrange", "expected"), PROBLEMS.values(), ids=PROBLEMS)
def test_each_problem_says_what_to_do(night: Night, arrange: Arrange, expected: list[str]) -> None:
    arrange(night)
    assert get(night, "/status")["problems"] == expected


@pytest.mark.parametrize(
    ("step", "arrange", "reason", "message"),
    [each for each in REFUSALS if Reason(each[2]).outcome == "failed"],
)
def test_whatever_would_fail_a_promotion_is_a_problem_with_what_to_do(
    night: Night, step: str, arrange: Arrange, reason: str, message: str
) -> None:
    arrange(night)
    what = "rds: latest would not be promoted: " if step == "snapshot" else ""
    found = night.status()
    assert found["problems"] == [f"{what}{message}. {Reason(reason).next_step}"]
    is_of_pipeline = reason == "pipeline-missing" or PIPELINE_NAME in message
    assert found["databases"][0]["blocks_refresh"] == (not is_of_pipeline)


def test_without_a_stack_the_runs_are_needed_to_see_what_is_deployed(night: Night) -> None:
    night.settings = Settings.from_environment(STAGE)
    denied("find")(night)
    assert night.status()["problems"] == [f"rds: find of it failed: {DENIED}"]
    without(PIPELINE_NAME)(night)
    unnamed, unseen, _ = night.status()["problems"]
    assert unnamed.startswith(f"parameter not found: {PIPELINE_NAME}. ")
    assert unseen == f"{UNSEEN}the main pipeline's name is unknown."


@pytest.mark.parametrize("route", ["/status", "/snapshots", "/snapshots/current/history"])
@pytest.mark.parametrize("name", [LATEST, CURRENT, PIPELINE_NAME, HOLD])
def test_asking_changes_nothing_and_hides_a_secret(refreshed: Night, route: str, name: str) -> None:
    """`Night.ask` checks both."""
    refreshed.push()
    refreshed.set(name, SECRET)
    get(refreshed, route)


# --- snapshots ------------------------------------------------------------------------------------


def test_each_share_has_its_verdict_newest_first(night: Night) -> None:
    listing(
        snapshot("a-chosen", created=SUNDAY - timedelta(hours=9)),
        snapshot("b-eligible", created=SUNDAY - timedelta(hours=10)),
        snapshot("c-strange", "9" * 12, created=SUNDAY),
        snapshot("d-timeless", created=None),
        snapshot("own", ACCEPTANCE),
    )(night)
    assert get(night, "/snapshots") == documented("snapshots")


@pytest.mark.parametrize(("arrange", "reason", "message"), UNCHOSEN)
def test_the_answer_explains_why_no_snapshot_is_chosen(
    night: Night, arrange: Arrange, reason: str, message: str
) -> None:
    arrange(night)
    answer = get(night, "/snapshots")
    assert answer["message"] == message
    assert not any(each["chosen"] for each in answer["snapshots"])


@pytest.mark.parametrize(("hostile", "omitted"), [(1_998, 0), (2_000, 1)])
def test_no_more_are_listed_than_an_answer_can_hold_but_always_the_one_that_is_chosen(
    night: Night, hostile: int, omitted: int
) -> None:
    for number in range(hostile):
        night.offer(f"hostile-{number}", account="9" * 12, created=SUNDAY)
    answer = get(night, "/snapshots")
    assert (len(answer["snapshots"]), answer["omitted"]) == (hostile + 2 - omitted, omitted)
    assert [each["arn"] for each in answer["snapshots"] if each["chosen"]] == [NEW]


# --- history --------------------------------------------------------------------------------------


def test_the_history_lists_versions_newest_first_with_their_outcome(refreshed: Night) -> None:
    refreshed.pin("old", reason="the data of ticket 4711")
    refreshed.aws.calls.clear()
    assert get(refreshed, "/snapshots/current/history") == documented("history")
    assert refreshed.aws.calls == ["get", "history", "runs"]


def test_a_history_is_an_error_without_runs_and_empty_without_the_parameter(night: Night) -> None:
    denied("runs")(night)
    message = "runs of it failed: AccessDeniedException: no"
    expected = 500, {"Code": "ChaliceViewError", "Message": message}
    assert night.ask("GET", "/snapshots/current/history") == expected
    calm(night.aws)
    without(CURRENT)(night)
    assert get(night, "/snapshots/current/history")["history"] == []
