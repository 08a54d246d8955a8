"""GET /status, /snapshots and /snapshots/current/history: asking changes nothing."""

import json
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.deployment import Position
from chalicelib.domain.ledger import Note, Version
from chalicelib.domain.reasons import Reason
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.pin import PinRequest, pin
from chalicelib.usecases.promote import promote
from tests.fakes import ACCEPTANCE, STACK, InMemoryAws, arn, snapshot
from tests.interruptions import refuse
from tests.stage import CURRENT, LATEST, OTHER_LATEST, PIPELINE, PIPELINE_NAME, STAGE
from tests.usecases.conftest import (
    HOLD,
    KIM,
    READING,
    SCHEDULE,
    SUNDAY,
    WITH_STACK,
    Api,
    Arrange,
    ends,
    everything,
    failed,
    hold_until,
    holding,
    listing,
    polls,
    push,
    without,
)
from tests.usecases.test_promote import REFUSALS
from tests.usecases.test_update import UNCHOSEN

SECRET = "postgres://admin:secret@db"


def status(ask: Api) -> Any:
    code, answer = ask("GET", "/status")
    assert code == 200
    return answer


def database(ask: Api, *fields: str) -> list[Any]:
    return [status(ask)["databases"][0][field] for field in fields]


def problems(ask: Api) -> list[str]:
    found: list[str] = status(ask)["problems"]
    return found


@pytest.fixture
def promoted(settings: Settings, aws: InMemoryAws) -> InMemoryAws:
    """Tonight's promotion has started its run, run-2, which goes on."""
    promote(settings, aws, SUNDAY)
    return aws


@pytest.fixture
def restored(settings: Settings, promoted: InMemoryAws) -> InMemoryAws:
    """It has succeeded, and a poll has seen it."""
    ends(promoted)
    polls(settings, promoted)
    return promoted


# --- status ---------------------------------------------------------------------------------------


def test_the_whole_status_before_a_refresh(ask: Api) -> None:
    assert status(ask) == {
        "databases": [
            {
                "name": "rds",
                "stack": STACK,
                "latest": arn("new"),
                "current": arn("old"),
                "previous": None,
                "deployed": arn("old"),
                "deployed_since": "2026-01-03T13:00:00+00:00",
                "preparation": None,
                "created": "2025-12-25T13:00:00+00:00",
                "age_hours": 231.0,
                "version": 1,
                "since": "2026-01-03T12:00:00+00:00",
                "action": "unknown",
                "by": "unknown",
                "why": "unknown",
                "good": True,
                "waiting": False,
            }
        ],
        "hold": None,
        "schedule": {
            "now": "2026-01-04T04:00:00+00:00",
            "window": "00:00-07:00 UTC",
            "next_update": "2026-01-18T02:00:00+00:00",
            "next_restore": "2026-01-18T04:00:00+00:00",
            "max_age_days": 14,
        },
        "pipeline": {
            "name": PIPELINE,
            "last_run": {
                "execution_id": "run-1",
                "status": "Succeeded",
                "started": "2026-01-03T13:00:00+00:00",
                "updated": "2026-01-03T13:00:00+00:00",
            },
            "under_way": None,
        },
        "problems": [],
    }


def test_a_fresh_account_in_which_there_is_nothing(settings: Settings) -> None:
    found = status(Api(settings, InMemoryAws(SUNDAY)))
    nothing = ("latest", "current", "previous", "deployed", "deployed_since", "preparation")
    assert found["databases"] == [
        {
            "name": "rds",
            "stack": STACK,
            **dict.fromkeys(nothing),
            **dict.fromkeys(("created", "age_hours", "version", "since", "action", "by", "why")),
            "good": False,
            "waiting": False,
        }
    ]
    assert found["pipeline"] == {"name": None, "last_run": None, "under_way": None}
    assert found["problems"] == [
        f"no parameter {PIPELINE_NAME}, {LATEST}. {Reason.PARAMETER_MISSING.next_step}"
    ]


def test_a_run_under_way_is_named_with_where_it_is_and_what_it_restores(
    ask: Api, promoted: InMemoryAws
) -> None:
    promoted.pipelines.waiting["run-2"] = Position("Approve", "Manual", SUNDAY, "an approval")
    found = status(ask)
    assert found["pipeline"]["under_way"] == {
        "execution_id": "run-2",
        "status": "InProgress",
        "started": "2026-01-04T04:00:00+00:00",
        "updated": "2026-01-04T04:00:00+00:00",
        "stage": "Approve",
        "action": "Manual",
        "waits_for": "an approval",
        "restores": f"rds from {arn('new')}",
    }
    assert database(ask, "current", "deployed", "previous") == [arn("new"), arn("old"), arn("old")]
    assert found["problems"] == []


def test_a_run_of_more_than_two_hours_is_a_problem_with_what_it_will_restore(
    ask: Api, promoted: InMemoryAws
) -> None:
    promoted.pipelines.waiting["run-2"] = Position("Approve", waits_for="an approval")
    promoted.time += timedelta(hours=2)
    assert problems(ask) == []
    promoted.time += timedelta(seconds=1)
    since = "run run-2 of acceptance-main is in progress since 2026-01-04T04:00:00+00:00"
    assert problems(ask) == [
        (
            f"{since}, waiting for an approval in stage Approve. When it goes on, it restores rds from "
            f"{arn('new')}."
        )
    ]
    promoted.parameters.put_by_hand(CURRENT, arn("old"))
    refuse(promoted, "positions")
    assert problems(ask) == ["positions of it failed: AccessDeniedException: no.", f"{since}."]


@pytest.mark.parametrize("ended", ["Failed", "Stopped", "Cancelled"])
def test_a_run_that_failed_is_a_problem(
    ask: Api, settings: Settings, promoted: InMemoryAws, ended: str
) -> None:
    ends(promoted, ended)
    polls(settings, promoted)
    assert database(ask, "current", "deployed", "waiting") == [arn("old"), arn("old"), False]
    assert problems(ask) == [
        (
            f"the last run of acceptance-main, run-2, ended as {ended} at 2026-01-04T04:30:00+00:00. "
            "Open it to see why."
        )
    ]


def test_a_pin_waits_until_a_run_restores_it(
    ask: Api, settings: Settings, aws: InMemoryAws
) -> None:
    request = PinRequest("new", KIM, "regression", deploy=False)
    pin(settings, aws, settings.databases[0], request)
    fields = ("waiting", "current", "deployed", "by", "why", "age_hours")
    assert database(ask, *fields) == [
        *(True, arn("new"), arn("old"), KIM, "regression", 231.0)  # the age of what is deployed
    ]
    push(aws)
    assert status(ask)["pipeline"]["under_way"]["restores"] == f"rds from {arn('new')}"
    ends(aws)
    assert database(ask, "waiting") == [False]


def test_a_hold_moves_the_next_restore_and_no_update(ask: Api, aws: InMemoryAws) -> None:
    hold_until("2026-01-19")(aws)
    found = status(ask)
    assert found["hold"] == {"until": "2026-01-19", "reason": "release test", "by": "kim"}
    assert (found["schedule"]["next_update"], found["schedule"]["next_restore"]) == (
        "2026-01-18T02:00:00+00:00",
        "2026-02-01T04:00:00+00:00",
    )


def test_an_unreadable_hold_is_one_and_a_problem(ask: Api, aws: InMemoryAws) -> None:
    aws.parameters.put_by_hand(HOLD, "until thursday")
    found = status(ask)
    reason = (
        "/acceptance/hold cannot be read, which counts as a hold: not a hold such as "
        '{"until": "2026-01-22", "reason": "…", "by": "…"}'
    )
    assert found["hold"] == {"until": None, "reason": reason, "by": "unknown"}
    assert found["schedule"]["next_restore"] is None
    assert found["problems"] == [f"{reason}. Set a new hold, or lift it."]


@pytest.mark.parametrize(
    ("update", "restore", "expected"),
    [
        (
            "cron(0 12 * * ? *)",
            "cron(0 4,12 * * ? *)",
            ("2026-01-04T12:00:00+00:00", "2026-01-05T04:00:00+00:00"),
        ),
        ("rate(1 hour)", "rate(1 day)", (None, None)),
    ],
)
def test_a_restore_is_foreseen_inside_the_window_only_and_nothing_of_a_rate(
    aws: InMemoryAws, update: str, restore: str, expected: tuple[str | None, str | None]
) -> None:
    settings = Settings.from_environment(
        WITH_STACK | {"UPDATE_SCHEDULE": update, "RESTORE_SCHEDULE": restore}
    )
    schedule = status(Api(settings, aws))["schedule"]
    assert (schedule["next_update"], schedule["next_restore"]) == expected


NO_SNAPSHOT = "not the ARN of a DB cluster snapshot"


@pytest.mark.parametrize(
    ("arrange", "expected"),
    [
        (lambda aws: refuse(aws, "runs"), ["runs of it failed: AccessDeniedException: no."]),
        (
            holding(CURRENT, "dummyvalue"),
            [
                (
                    f"rds: {CURRENT} was reset to dummyvalue, which the next run of the pipeline would "
                    "read: pin the snapshot that is deployed."
                )
            ],
        ),
        (
            holding(CURRENT, SECRET),
            [
                (
                    f"rds: {CURRENT} holds something else, 26 characters long, {NO_SNAPSHOT}. The next "
                    "run of the pipeline would read it: pin a snapshot."
                )
            ],
        ),
        (
            listing(snapshot("new"), snapshot("old", created=SUNDAY - timedelta(days=93))),
            [
                (
                    "rds: the deployed data is 93 days old, the limit is 14. Refresh with POST /refresh "
                    "once a newer snapshot is shared, or pin one with deploy."
                )
            ],
        ),
        (
            lambda aws: aws.stacks.set_status("UPDATE_ROLLBACK_FAILED"),
            [
                (
                    "rds: it cannot be seen what is deployed: stack acceptance-data is "
                    "UPDATE_ROLLBACK_FAILED: continue its rollback."
                )
            ],
        ),
        (
            lambda aws: refuse(aws, "deployed"),
            [
                (
                    "rds: it cannot be seen what is deployed: deployed of it failed: "
                    "AccessDeniedException: no."
                )
            ],
        ),
        (lambda aws: aws.stacks.set_status("UPDATE_IN_PROGRESS"), []),
    ],
)
def test_each_problem_says_what_to_do_and_hides_nothing_else(
    ask: Api, aws: InMemoryAws, arrange: Arrange, expected: list[str]
) -> None:
    arrange(aws)
    found = status(ask)
    assert found["problems"] == expected
    assert found["schedule"]["next_restore"] == "2026-01-18T04:00:00+00:00"
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("arrange", "step", "outcome", "reason", "message"),
    [each for each in REFUSALS if each[2] == "failed"],
)
def test_whatever_would_fail_a_promotion_is_a_problem_with_what_to_do(
    ask: Api, aws: InMemoryAws, arrange: Arrange, step: str, outcome: str, reason: str, message: str
) -> None:
    arrange(aws)
    what = "rds: latest would not be promoted: " if step == "snapshot" else ""
    assert problems(ask) == [f"{what}{message}. {Reason(reason).next_step}"]


def test_a_snapshot_that_cannot_be_looked_up_is_a_problem_and_one_that_is_gone_has_no_age(
    ask: Api, settings: Settings, aws: InMemoryAws
) -> None:
    aws.snapshots.all = [snapshot("new")]
    assert database(ask, "deployed", "created", "age_hours") == [arn("old"), None, None]
    plain = Api(Settings.from_environment(STAGE), aws)  # whose stack is not looked at
    refuse(aws, "find")
    assert problems(plain) == ["rds: find of it failed: AccessDeniedException: no."]


def test_without_a_stack_and_the_pipelines_name_it_cannot_be_seen_what_is_deployed(
    aws: InMemoryAws,
) -> None:
    del aws.parameters.kept[PIPELINE_NAME]
    unnamed, unseen = problems(Api(Settings.from_environment(STAGE), aws))
    assert unnamed.startswith(f"no parameter {PIPELINE_NAME}. ")
    assert unseen == (
        "rds: it cannot be seen what is deployed: the main pipeline's name is unknown."
    )


def test_data_may_be_as_old_as_the_limit(ask: Api, aws: InMemoryAws) -> None:
    aws.time = SUNDAY
    for age, count in ((timedelta(days=14), 0), (timedelta(days=14, seconds=1), 1)):
        aws.snapshots.all = [snapshot("new"), snapshot("old", created=SUNDAY - age)]
        assert len(problems(ask)) == count


def test_a_refresh_that_was_due_and_did_not_happen_is_a_problem(ask: Api, aws: InMemoryAws) -> None:
    aws.time = SUNDAY + timedelta(hours=2)
    assert problems(ask) == [
        (
            "rds: the refresh that was due at 2026-01-04T04:00:00+00:00 did not happen. Look at the "
            "notifications and at the log of db-restore-from-snapshot."
        )
    ]
    for arrange in (hold_until("2026-02-01"), holding(LATEST, arn("old"))):
        kept = {name: list(versions) for name, versions in aws.parameters.kept.items()}
        arrange(aws)
        assert problems(ask) == []
        aws.parameters.kept = kept


def test_a_missed_refresh_is_not_looked_for_while_a_run_is_in_progress_nor_for_a_rate(
    ask: Api, aws: InMemoryAws
) -> None:
    aws.time = SUNDAY + timedelta(hours=2)
    rate = Settings.from_environment(WITH_STACK | {"RESTORE_SCHEDULE": "rate(1 day)"})
    assert problems(Api(rate, aws)) == []
    push(aws)
    assert problems(ask) == []


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/status", "get"),
        ("/status", "history"),
        ("/snapshots", "shared"),
        ("/snapshots/current/history", "runs"),
    ],
)
def test_what_cannot_be_listed_is_an_error_and_is_not_taken_for_nothing(
    ask: Api, aws: InMemoryAws, path: str, operation: str
) -> None:
    refuse(aws, operation)
    assert ask("GET", path) == failed(f"{operation} of it failed: AccessDeniedException: no")


def test_each_database_has_its_own(two: Settings, documents: InMemoryAws) -> None:
    documents.parameters.put_by_hand(OTHER_LATEST, "dummyvalue")
    documents.calls.clear()
    found = status(Api(two, documents))
    assert [(each["name"], each["latest"], each["deployed"]) for each in found["databases"]] == [
        ("rds", arn("new"), arn("old")),
        ("docs", None, arn("docs-old")),
    ]
    assert found["problems"] == [
        f"{OTHER_LATEST} holds 'dummyvalue', {NO_SNAPSHOT}. {Reason.NO_LATEST.next_step}"
    ]
    # Each database's ledger, cluster and snapshots; the stack and the runs only once.
    assert sorted(documents.calls) == sorted(
        ["get", "runs", "find", *["history", "deployed"] * 2, *["find"] * 3]
    )


@pytest.mark.parametrize("route", ["/status", "/snapshots", "/snapshots/current/history"])
@pytest.mark.parametrize("name", [LATEST, CURRENT, PIPELINE_NAME, HOLD])
def test_asking_changes_nothing_and_shows_no_secret(
    ask: Api, restored: InMemoryAws, route: str, name: str
) -> None:
    restored.parameters.put_by_hand(name, SECRET)
    before = everything(restored)
    restored.calls.clear()
    code, answer = ask("GET", route)
    assert (code, everything(restored)) == (200, before)
    assert set(restored.calls) <= READING
    assert "secret" not in json.dumps(answer)


# --- snapshots ------------------------------------------------------------------------------------


def shares(ask: Api, query: str = "") -> Any:
    code, answer = ask("GET", f"/snapshots{query}")
    assert code == 200
    return answer


def test_each_share_has_its_verdict_newest_first(ask: Api, aws: InMemoryAws) -> None:
    hostile = '"><script>alert(1)</script>\x1b[2J\u202e'
    aws.snapshots.all = [
        snapshot("a-chosen", created=SUNDAY - timedelta(hours=9)),
        snapshot("b-eligible", created=SUNDAY - timedelta(hours=10)),
        snapshot("c-hostile", "9" * 12, created=SUNDAY - timedelta(hours=1)),
        snapshot("d-making", status=hostile, created=SUNDAY - timedelta(hours=2)),
        snapshot("e-mysql", engine="aurora-mysql", created=SUNDAY - timedelta(hours=3)),
        snapshot("f-16", engine_version="16.1", created=SUNDAY - timedelta(hours=4)),
        snapshot("g-timeless", created=None),
        snapshot("own", ACCEPTANCE),
    ]
    answer = shares(ask)
    assert (answer["omitted"], answer["message"]) == (0, None)
    found = [
        (each["arn"].rpartition(":")[2], each["chosen"], each["reason"], each["detail"])
        for each in answer["snapshots"]
    ]
    assert found == [
        ("c-hostile", False, "account", "account 999999999999, expected 111111111111"),
        ("d-making", False, "status", f"status {hostile}, expected available"),
        ("e-mysql", False, "engine", "engine aurora-mysql, expected aurora-postgresql"),
        ("f-16", False, "version", "engine version 16.1, expected 15"),
        ("a-chosen", True, None, None),
        ("b-eligible", False, None, None),
        ("g-timeless", False, "no-create-time", "no creation time yet"),
    ]
    assert answer["snapshots"][4] == {
        "arn": arn("a-chosen"),
        "created": "2026-01-03T19:00:00+00:00",
        "cluster": "orders",
        "engine": "aurora-postgresql",
        "engine_version": "15.4",
        "status": "available",
        "eligible": True,
        "reason": None,
        "detail": None,
        "chosen": True,
    }


@pytest.mark.parametrize(("arrange", "reason", "message"), UNCHOSEN)
def test_if_none_can_be_chosen_it_says_why(
    ask: Api, aws: InMemoryAws, arrange: Arrange, reason: str, message: str
) -> None:
    arrange(aws)
    answer = shares(ask)
    assert answer["message"] == message
    assert not any(each["chosen"] for each in answer["snapshots"])


@pytest.mark.parametrize(("hostile", "omitted"), [(1_998, 0), (1_999, 1), (2_500, 501)])
def test_no_more_are_listed_than_an_answer_can_hold_but_always_the_one_that_is_chosen(
    ask: Api, aws: InMemoryAws, hostile: int, omitted: int
) -> None:
    aws.snapshots.all += [
        snapshot(f"hostile-{number}", "9" * 12, created=SUNDAY) for number in range(hostile)
    ]
    answer = shares(ask)
    assert (len(answer["snapshots"]), answer["omitted"]) == (hostile + 2 - omitted, omitted)
    assert [each["arn"] for each in answer["snapshots"] if each["chosen"]] == [arn("new")]


def test_each_database_has_its_own_verdicts_and_history(
    two: Settings, documents: InMemoryAws
) -> None:
    ask = Api(two, documents)
    for name, chosen, present in (("rds", "new", "old"), ("docs", "docs-old", "docs-old")):
        found = shares(ask, f"?database={name}")["snapshots"]
        assert [each["arn"] for each in found if each["chosen"]] == [arn(chosen)]
        found = ask("GET", f"/snapshots/current/history?database={name}")[1]["history"]
        assert [each["snapshot"] for each in found] == [arn(present)]


# --- history --------------------------------------------------------------------------------------


def history(ask: Api) -> Any:
    code, answer = ask("GET", "/snapshots/current/history")
    assert (code, list(answer)) == (200, ["history"])
    return answer["history"]


def test_the_ledger_newest_first_with_what_became_of_each_version(
    ask: Api, restored: InMemoryAws
) -> None:
    restored.parameters.put_by_hand(CURRENT, arn("wanted"))
    assert history(ask) == [
        {
            "version": 3,
            "snapshot": arn("wanted"),
            "set": "2026-01-04T05:01:00+00:00",
            **dict.fromkeys(("action", "by", "why"), "unknown"),
            "good": False,
            "result": None,
            "run": None,
        },
        {
            "version": 2,
            "snapshot": arn("new"),
            "set": "2026-01-04T04:00:00+00:00",
            "action": "promote",
            "by": SCHEDULE,
            "why": "newest eligible share",
            "good": True,
            "result": "refreshed",
            "run": {
                "execution_id": "run-2",
                "status": "Succeeded",
                "started": "2026-01-04T04:00:00+00:00",
                "updated": "2026-01-04T04:30:00+00:00",
            },
        },
        {
            "version": 1,
            "snapshot": arn("old"),
            "set": "2026-01-03T12:00:00+00:00",
            **dict.fromkeys(("action", "by", "why"), "unknown"),
            "good": False,
            "result": "restored",
            "run": {
                "execution_id": "run-1",
                "status": "Succeeded",
                "started": "2026-01-03T13:00:00+00:00",
                "updated": "2026-01-03T13:00:00+00:00",
            },
        },
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("dummyvalue", "dummyvalue"),
        (SECRET, "something else, 26 characters long"),
        ("arn:aws:secretsmanager:eu-west-1:1:secret:x", "something else, 43 characters long"),
    ],
)
def test_a_value_that_is_no_snapshot_is_shown_by_its_length(
    ask: Api, aws: InMemoryAws, value: str, shown: str
) -> None:
    aws.parameters.put_by_hand(CURRENT, value)
    assert history(ask)[0]["snapshot"] == shown


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "\x1b[2J\x00", "\ud800", "a" * 250])
def test_hostile_words_in_a_description_are_shown_as_they_are(
    ask: Api, aws: InMemoryAws, text: str
) -> None:
    """Whoever may write the parameter may write a Description as this application does."""
    note = Note.read(json.dumps({"action": text, "by": text, "why": text, "token": text}), "x")
    aws.parameters.kept[CURRENT].append(Version(2, arn("new"), SUNDAY, note))
    entry = history(ask)[0]
    assert (entry["action"], entry["by"], entry["why"]) == (text, text, text)
    assert ask("GET", "/status")[0] == 200


@pytest.mark.parametrize(
    ("arrange", "expected"),
    [
        (without(CURRENT), []),
        (holding(PIPELINE_NAME, "elsewhere"), [None]),
        (without(PIPELINE_NAME), [None]),
    ],
    ids=["no parameter", "no pipeline", "no name"],
)
def test_a_history_without_a_parameter_or_a_pipeline(
    ask: Api, aws: InMemoryAws, arrange: Arrange, expected: list[None]
) -> None:
    arrange(aws)
    assert [each["run"] for each in history(ask)] == expected
