"""GET /status, /snapshots and /snapshots/current/history: asking changes nothing."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.ledger import Entry, Note, Run
from chalicelib.notifications import NEXT_STEPS
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases import status as overview
from chalicelib.usecases.pin import Pin, pin
from chalicelib.usecases.promote import promote
from tests.fakes import ACCEPTANCE, InMemoryAws, arn, snapshot
from tests.interruptions import Killed, calm, kill, refuse
from tests.stage import CURRENT, LATEST, OTHER_CURRENT, OTHER_LATEST, PIPELINE, PIPELINE_NAME, STAGE
from tests.usecases.conftest import (
    BY_HAND,
    HOLD,
    KIM,
    READING,
    SUNDAY,
    Api,
    Arrange,
    everything,
    hold_until,
    holding,
    listing,
    running,
    without,
)

SECRET = "postgres://admin:secret@db"


def status(ask: Api) -> Any:
    code, answer = ask("GET", "/status")
    assert code == 200
    return answer


def first(ask: Api) -> Any:
    return status(ask)["databases"][0]


def problems(ask: Api) -> list[str]:
    told: list[str] = status(ask)["problems"]
    return told


@pytest.fixture
def promoted(settings: Settings, aws: InMemoryAws) -> InMemoryAws:
    """Tonight's promotion has started its run, which goes on."""
    promote(settings, aws, SUNDAY)
    aws.time += timedelta(minutes=30)
    return aws


@pytest.fixture
def restored(promoted: InMemoryAws) -> InMemoryAws:
    """Its run has succeeded, and its success was followed up."""
    promoted.pipelines.finish(PIPELINE)
    promoted.parameters.mark_good(CURRENT, 2)
    promoted.time += timedelta(hours=1)
    return promoted


# --- status ---------------------------------------------------------------------------------------


def test_the_whole_status_before_a_refresh(ask: Api) -> None:
    assert status(ask) == {
        "databases": [
            {
                "name": "rds",
                "latest": arn("new"),
                "current": arn("old"),
                "previous": None,
                "deployed": arn("old"),
                "created": "2025-12-25T13:00:00+00:00",
                "age_hours": 231.0,
                "version": 1,
                "since": "2026-01-03T12:00:00+00:00",
                "action": "bootstrap",
                "by": "setup",
                "why": "",
                "good": False,
                "waiting": False,
            }
        ],
        "hold": None,
        "schedule": {
            "now": "2026-01-04T04:00:00+00:00",
            "window": "00:00-07:00 UTC",
            "next_update": "2026-01-18T02:00:00+00:00",
            "next_restore": "2026-01-18T04:00:00+00:00",
        },
        "pipeline": {
            "name": PIPELINE,
            "last_run": {
                "execution_id": "run-0",
                "status": "Succeeded",
                "started": "2026-01-03T13:00:00+00:00",
                "updated": "2026-01-03T13:00:00+00:00",
            },
        },
        "problems": [],
    }


def test_a_fresh_account_in_which_there_is_nothing_is_told(settings: Settings) -> None:
    told = status(Api(settings, InMemoryAws(SUNDAY)))
    assert told["databases"] == [
        {
            "name": "rds",
            **dict.fromkeys(("latest", "current", "previous", "deployed", "created", "age_hours")),
            **dict.fromkeys(("version", "since", "action", "by", "why")),
            "good": False,
            "waiting": False,
        }
    ]
    assert told["pipeline"] == {"name": None, "last_run": None}
    assert told["problems"] == [
        f"no parameter {PIPELINE_NAME}, {LATEST}. {NEXT_STEPS['parameter-missing']}"
    ]


def test_placeholders_name_no_snapshot(ask: Api, aws: InMemoryAws) -> None:
    for name in (LATEST, CURRENT, PIPELINE_NAME, HOLD):
        aws.parameters.put(name, "dummyvalue", BY_HAND)
    told = status(ask)
    assert (told["databases"][0]["latest"], told["databases"][0]["current"]) == (None, None)
    assert (told["pipeline"]["name"], told["hold"]) == (None, None)
    assert told["problems"] == [
        (
            f"{LATEST} holds 'dummyvalue', not the ARN of a DB cluster snapshot. "
            f"{NEXT_STEPS['no-latest']}"
        ),
        (
            f"{PIPELINE_NAME} holds 'dummyvalue', not a pipeline's name. "
            f"{NEXT_STEPS['pipeline-missing']}"
        ),
    ]


@pytest.mark.parametrize("name", [LATEST, CURRENT, PIPELINE_NAME, HOLD])
def test_what_may_be_a_secret_is_shown_nowhere(ask: Api, aws: InMemoryAws, name: str) -> None:
    aws.parameters.put(name, SECRET, BY_HAND)
    for route in ("/status", "/snapshots/current/history", "/snapshots"):
        code, answer = ask("GET", route)
        assert code == 200
        assert "secret" not in json.dumps(answer)
    assert b"secret@" not in ask.send("GET", "/")[2]


def test_an_hour_into_its_run_current_is_being_restored(ask: Api, promoted: InMemoryAws) -> None:
    told = first(ask)
    assert (told["current"], told["deployed"], told["previous"], told["waiting"]) == (
        arn("new"),
        arn("old"),
        arn("old"),
        False,
    )
    assert problems(ask) == []


def test_after_its_success_acceptance_is_on_it(ask: Api, restored: InMemoryAws) -> None:
    told = first(ask)
    assert (told["current"], told["deployed"], told["good"], told["waiting"]) == (
        arn("new"),
        arn("new"),
        True,
        False,
    )
    assert (told["action"], told["created"], told["age_hours"]) == (
        "promote",
        "2026-01-03T22:00:00+00:00",
        7.5,
    )
    assert problems(ask) == []


def test_success_is_known_before_it_was_followed_up(ask: Api, promoted: InMemoryAws) -> None:
    promoted.pipelines.finish(PIPELINE)
    told = first(ask)
    assert (told["deployed"], told["good"]) == (arn("new"), False)


def test_a_run_that_failed_is_a_problem(ask: Api, promoted: InMemoryAws) -> None:
    promoted.pipelines.finish(PIPELINE, "Failed")
    promoted.parameters.put(CURRENT, arn("old"), Note("revert", "follow", "run failed"))
    told = first(ask)
    assert (told["current"], told["deployed"], told["waiting"]) == (arn("old"), arn("old"), False)
    assert problems(ask) == [
        (
            "the last run of acceptance-main, run-2, ended as Failed at 2026-01-04T04:30:00+00:00. "
            "Look there to see why."
        )
    ]


@pytest.mark.parametrize("ended", ["Succeeded", "InProgress", "Stopping", "Superseded"])
def test_no_other_end_of_a_run_is(ask: Api, aws: InMemoryAws, ended: str) -> None:
    running(ended)(aws)
    assert problems(ask) == []
    assert status(ask)["pipeline"]["last_run"]["status"] == ended


def test_a_pin_that_waits_is_no_problem(ask: Api, settings: Settings, aws: InMemoryAws) -> None:
    pin(settings, aws, settings.databases[0], Pin("new", KIM, "regression", deploy=False))
    aws.time += timedelta(hours=1)
    told = first(ask)
    assert (told["waiting"], told["current"], told["deployed"], told["by"], told["why"]) == (
        True,
        arn("new"),
        arn("old"),
        KIM,
        "regression",
    )
    assert told["created"] == "2025-12-25T13:00:00+00:00"  # of what acceptance is on
    assert problems(ask) == []


def test_a_killed_promotion_is_a_problem(ask: Api, settings: Settings, aws: InMemoryAws) -> None:
    kill(aws, "after", "put")
    with pytest.raises(Killed):
        promote(settings, aws, SUNDAY)
    calm(aws)
    assert first(ask)["waiting"] is True
    assert problems(ask) == [
        (
            f"rds: no run has carried {arn('new')}, which was to be deployed: the next run restores "
            "it. Refresh again to complete it, or roll back."
        )
    ]


def test_an_unreadable_hold_is_one_and_a_problem(ask: Api, aws: InMemoryAws) -> None:
    aws.parameters.put(HOLD, "until thursday", BY_HAND)
    told = status(ask)
    reason = (
        "/acceptance/hold cannot be read, which counts as a hold: not a hold such as "
        '{"until": "2026-01-22", "reason": "…", "by": "…"}'
    )
    assert told["hold"] == {"until": None, "reason": reason, "by": "unknown"}
    assert told["schedule"]["next_restore"] is None
    assert told["schedule"]["next_update"] == "2026-01-18T02:00:00+00:00"
    assert told["problems"] == [f"{reason}. Set a new hold, or lift it."]


def test_a_hold_moves_the_next_restore_and_no_update(ask: Api, aws: InMemoryAws) -> None:
    hold_until("2026-01-19")(aws)
    told = status(ask)
    assert told["hold"] == {"until": "2026-01-19", "reason": "release test", "by": "kim"}
    assert (told["schedule"]["next_update"], told["schedule"]["next_restore"]) == (
        "2026-01-18T02:00:00+00:00",
        "2026-02-01T04:00:00+00:00",
    )
    assert told["problems"] == []


def test_an_update_is_foreseen_outside_the_window_and_a_restore_is_not(aws: InMemoryAws) -> None:
    settings = Settings.from_environment(
        STAGE
        | {"UPDATE_SCHEDULE": "cron(0 12 * * ? *)", "RESTORE_SCHEDULE": "cron(0 4,12 * * ? *)"}
    )
    schedule = status(Api(settings, aws))["schedule"]
    assert (schedule["next_update"], schedule["next_restore"]) == (
        "2026-01-04T12:00:00+00:00",
        "2026-01-05T04:00:00+00:00",
    )


def test_of_a_rate_no_date_is_known(aws: InMemoryAws) -> None:
    settings = Settings.from_environment(
        STAGE | {"UPDATE_SCHEDULE": "rate(1 hour)", "RESTORE_SCHEDULE": "rate(1 day)"}
    )
    schedule = status(Api(settings, aws))["schedule"]
    assert (schedule["next_update"], schedule["next_restore"]) == (None, None)


@pytest.mark.parametrize(
    ("arrange", "problem"),
    [
        (
            holding(PIPELINE_NAME, "elsewhere"),
            f"there is no pipeline named elsewhere. {NEXT_STEPS['pipeline-missing']}",
        ),
        (
            without(PIPELINE_NAME),
            f"no parameter {PIPELINE_NAME}. {NEXT_STEPS['parameter-missing']}",
        ),
        (
            lambda aws: refuse(aws, "runs"),
            "runs of it failed: AccessDeniedException: no.",
        ),
    ],
    ids=["gone", "unnamed", "denied"],
)
def test_without_the_runs_the_rest_is_told(
    ask: Api, restored: InMemoryAws, arrange: Arrange, problem: str
) -> None:
    """And nothing is claimed of runs that nobody has seen."""
    arrange(restored)
    told = status(ask)
    assert told["pipeline"]["last_run"] is None
    assert told["problems"] == [problem]
    entry = told["databases"][0]
    assert (entry["current"], entry["deployed"], entry["waiting"]) == (
        arn("new"),
        arn("new"),
        False,
    )


def test_what_is_proven_good_was_carried_whatever_runs_are_listed(
    ask: Api, restored: InMemoryAws
) -> None:
    """The pipeline was made anew, and has not run yet."""
    restored.pipelines.pipelines[PIPELINE] = []
    assert problems(ask) == []


def test_without_a_snapshot_the_rest_is_told(ask: Api, aws: InMemoryAws) -> None:
    refuse(aws, "find")
    told = status(ask)
    assert told["problems"] == ["rds: find of it failed: AccessDeniedException: no."]
    assert told["databases"][0]["created"] is None
    assert told["databases"][0]["current"] == arn("old")


def test_of_a_snapshot_that_is_gone_no_age_is_known(ask: Api, aws: InMemoryAws) -> None:
    aws.snapshots.all = [snapshot("new")]
    told = first(ask)
    assert (told["deployed"], told["created"], told["age_hours"]) == (arn("old"), None, None)


@pytest.mark.parametrize("operation", ["get", "history"])
def test_without_parameter_store_nothing_is_told(
    ask: Api, aws: InMemoryAws, operation: str
) -> None:
    refuse(aws, operation)
    assert ask("GET", "/status") == (
        500,
        {
            "Code": "ChaliceViewError",
            "Message": f"{operation} of it failed: AccessDeniedException: no",
        },
    )


@pytest.mark.parametrize(
    ("arrange", "problem", "reason"),
    [
        (
            listing(snapshot("old")),
            f"{arn('new')} does not exist any more, or is no longer shared",
            "snapshot-gone",
        ),
        (
            listing(snapshot("old"), snapshot("new", created=SUNDAY - timedelta(days=15))),
            f"{arn('new')} is 15 days old, the limit is 14",
            "snapshot-stale",
        ),
        (
            holding(LATEST, arn("new", "9" * 12)),
            f"{arn('new', '9' * 12)}: account 999999999999, wanted 111111111111",
            "not-eligible",
        ),
    ],
    ids=["gone", "stale", "foreign"],
)
def test_a_latest_that_would_be_refused_is_a_problem_before_the_night(
    ask: Api, aws: InMemoryAws, arrange: Arrange, problem: str, reason: str
) -> None:
    arrange(aws)
    assert problems(ask) == [f"rds: latest would not be promoted: {problem}. {NEXT_STEPS[reason]}"]


def test_a_latest_that_is_current_need_not_be_young(ask: Api, restored: InMemoryAws) -> None:
    restored.time += timedelta(days=40)
    assert problems(ask) == []


def test_nothing_known_of_runs_means_nothing_known_of_the_data(ask: Api, aws: InMemoryAws) -> None:
    aws.pipelines.pipelines[PIPELINE] = []
    told = first(ask)
    assert (told["deployed"], told["waiting"]) == (None, False)
    assert told["created"] == "2025-12-25T13:00:00+00:00"  # current's


def test_each_database_has_its_own(two: Settings, documents: InMemoryAws) -> None:
    documents.parameters.put(OTHER_LATEST, "dummyvalue", BY_HAND)
    told = status(Api(two, documents))
    assert [(each["name"], each["latest"], each["current"]) for each in told["databases"]] == [
        ("rds", arn("new"), arn("old")),
        ("docs", None, arn("docs-old")),
    ]
    assert told["problems"] == [
        (
            f"{OTHER_LATEST} holds 'dummyvalue', not the ARN of a DB cluster snapshot. "
            f"{NEXT_STEPS['no-latest']}"
        )
    ]


def test_a_rollback_goes_where_the_status_says(ask: Api, restored: InMemoryAws) -> None:
    for value in ("dummyvalue", SECRET):
        restored.parameters.put(CURRENT, value, BY_HAND)
    goes = first(ask)["previous"]
    assert ask("POST", "/snapshots/current/rollback", {})[1]["current"] == goes == arn("new")


# --- snapshots ------------------------------------------------------------------------------------


def candidates(ask: Api, query: str = "") -> Any:
    code, answer = ask("GET", f"/snapshots{query}")
    assert code == 200
    return answer


def test_each_share_has_its_verdict_newest_first(ask: Api, aws: InMemoryAws) -> None:
    aws.snapshots.all = [
        snapshot("a-chosen", created=SUNDAY - timedelta(hours=9)),
        snapshot("b-eligible", created=SUNDAY - timedelta(hours=10)),
        snapshot("c-hostile", "9" * 12, created=SUNDAY - timedelta(hours=1)),
        snapshot("d-making", status="creating", created=SUNDAY - timedelta(hours=2)),
        snapshot("e-mysql", engine="aurora-mysql", created=SUNDAY - timedelta(hours=3)),
        snapshot("f-16", engine_version="16.1", created=SUNDAY - timedelta(hours=4)),
        snapshot("g-timeless", created=None),
        snapshot("own", ACCEPTANCE),
    ]
    answer = candidates(ask)
    assert (answer["omitted"], answer["message"]) == (0, None)
    told = [
        (each["arn"].rpartition(":")[2], each["eligible"], each["reason"], each["detail"])
        for each in answer["snapshots"]
    ]
    assert told == [
        ("c-hostile", False, "account", "account 999999999999, wanted 111111111111"),
        ("d-making", False, "status", "status creating, wanted available"),
        ("e-mysql", False, "engine", "engine aurora-mysql, wanted aurora-postgresql"),
        ("f-16", False, "version", "engine version 16.1, wanted 15"),
        ("a-chosen", True, None, None),
        ("b-eligible", True, None, None),
        ("g-timeless", False, "no-create-time", "no creation time yet"),
    ]
    assert [each["arn"] for each in answer["snapshots"] if each["chosen"]] == [arn("a-chosen")]
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
    assert answer["snapshots"][6]["created"] is None


def test_a_tie_goes_to_the_greater_arn_which_comes_first(ask: Api, aws: InMemoryAws) -> None:
    aws.snapshots.all = [snapshot("b"), snapshot("c"), snapshot("a")]
    told = candidates(ask)["snapshots"]
    assert [(each["arn"], each["chosen"]) for each in told] == [
        (arn("c"), True),
        (arn("b"), False),
        (arn("a"), False),
    ]


def test_eligible_ones_of_several_clusters_are_ambiguous(ask: Api, aws: InMemoryAws) -> None:
    aws.snapshots.all = [snapshot("a"), snapshot("b", cluster="billing")]
    answer = candidates(ask)
    assert answer["message"] == (
        "rds: eligible snapshots come from several clusters (billing, orders); "
        "set RDS_SOURCE_CLUSTER"
    )
    assert [(each["eligible"], each["chosen"]) for each in answer["snapshots"]] == [
        (True, False)
    ] * 2


def test_the_wrong_cluster_is_told(aws: InMemoryAws) -> None:
    settings = Settings.from_environment(STAGE | {"RDS_SOURCE_CLUSTER": "billing"})
    answer = candidates(Api(settings, aws))
    assert {(each["reason"], each["detail"]) for each in answer["snapshots"]} == {
        ("cluster", "cluster orders, wanted billing")
    }
    assert answer["message"] == "rds: no shared snapshot is eligible; rejected: 2 for cluster"


def test_without_any_share_that_is_said(ask: Api, aws: InMemoryAws) -> None:
    aws.snapshots.all = [snapshot("own", ACCEPTANCE)]
    assert candidates(ask) == {
        "snapshots": [],
        "omitted": 0,
        "message": "rds: no shared snapshot is eligible; rejected: none",
    }


@pytest.mark.parametrize(("shares", "omitted"), [(2_000, 0), (2_001, 1), (2_500, 500)])
def test_no_more_than_an_answer_can_hold_are_listed(
    ask: Api, aws: InMemoryAws, shares: int, omitted: int
) -> None:
    aws.snapshots.all = [
        snapshot(f"orders-{number}", created=SUNDAY - timedelta(minutes=number))
        for number in range(shares)
    ]
    answer = candidates(ask)
    assert (len(answer["snapshots"]), answer["omitted"]) == (2_000, omitted)
    assert answer["snapshots"][0]["arn"] == arn("orders-0")
    assert answer["snapshots"][0]["chosen"] is True


def test_one_chosen_behind_many_hostile_shares_is_chosen_all_the_same(
    ask: Api, aws: InMemoryAws
) -> None:
    """It is the last one listed then."""
    aws.snapshots.all += [
        snapshot(f"hostile-{number}", "9" * 12, created=SUNDAY) for number in range(2_000)
    ]
    answer = candidates(ask)
    assert (answer["omitted"], answer["message"]) == (1, None)
    assert [each["arn"] for each in answer["snapshots"] if each["chosen"]] == [arn("new")]


def test_a_current_that_names_no_snapshot_is_a_problem(ask: Api, aws: InMemoryAws) -> None:
    aws.parameters.put(CURRENT, SECRET, BY_HAND)
    assert problems(ask) == [
        (
            f"{CURRENT} holds something else, of 26 characters, not the ARN of a DB cluster snapshot. "
            "The next run of the pipeline would read it: pin a snapshot."
        )
    ]


def test_a_hostile_name_is_told_as_it_is(ask: Api, aws: InMemoryAws) -> None:
    name = '"><script>alert(1)</script>\x1b[2J\u202e'
    aws.snapshots.all = [snapshot("new", cluster=name, engine=name, status=name)]
    (told,) = candidates(ask)["snapshots"]
    assert (told["cluster"], told["reason"]) == (name, "status")


def test_each_database_has_its_own_verdicts(two: Settings, documents: InMemoryAws) -> None:
    ask = Api(two, documents)
    for name, chosen in (("rds", {arn("new")}), ("docs", {arn("docs-old")})):
        told = candidates(ask, f"?database={name}")["snapshots"]
        assert {each["arn"] for each in told if each["chosen"]} == chosen
        assert len(told) == 4
    assert documents.calls.count("shared") == 2


def test_a_listing_that_is_denied_is_told(ask: Api, aws: InMemoryAws) -> None:
    refuse(aws, "shared")
    code, answer = ask("GET", "/snapshots")
    assert (code, answer["Message"]) == (500, "shared of it failed: AccessDeniedException: no")


def test_the_console_tells_the_rest_without_the_listing(
    settings: Settings, aws: InMemoryAws
) -> None:
    refuse(aws, "shared")
    view = overview.console(settings, aws)
    assert view["status"]["problems"] == ["shared of it failed: AccessDeniedException: no."]
    assert view["databases"]["rds"]["snapshots"] == []
    assert len(view["databases"]["rds"]["history"]) == 1


def test_the_console_is_told_what_the_routes_tell(
    ask: Api, holdable: Settings, restored: InMemoryAws
) -> None:
    view = overview.console(holdable, restored)
    assert view["status"] == status(ask)
    assert view["databases"] == {
        "rds": candidates(ask) | ask("GET", "/snapshots/current/history")[1]
    }


# --- history --------------------------------------------------------------------------------------


def history(ask: Api, query: str = "") -> Any:
    code, answer = ask("GET", f"/snapshots/current/history{query}")
    assert code == 200
    assert list(answer) == ["history"]
    return answer["history"]


def test_the_ledger_newest_first_with_each_versions_run(ask: Api, restored: InMemoryAws) -> None:
    assert history(ask) == [
        {
            "version": 2,
            "snapshot": arn("new"),
            "set": "2026-01-04T04:00:00+00:00",
            "action": "promote",
            "by": "the schedule of 2026-01-04T04:00:00+00:00",
            "why": "newest eligible share",
            "good": True,
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
            "action": "bootstrap",
            "by": "setup",
            "why": "",
            "good": False,
            "run": {
                "execution_id": "run-0",
                "status": "Succeeded",
                "started": "2026-01-03T13:00:00+00:00",
                "updated": "2026-01-03T13:00:00+00:00",
            },
        },
    ]


def test_of_several_runs_the_newest_is_told(ask: Api, restored: InMemoryAws) -> None:
    running()(restored)
    assert [entry["run"]["execution_id"] for entry in history(ask)] == ["deploy-7", "run-0"]


def test_what_no_run_deployed_has_none(ask: Api, restored: InMemoryAws) -> None:
    """Moved on before any run, or still waiting for one."""
    restored.parameters.put(CURRENT, arn("wrong"), Note("pin", KIM, "oops"))
    restored.parameters.put(CURRENT, arn("right"), Note("pin", KIM, ""))
    restored.time += timedelta(hours=1)
    running()(restored)
    restored.time += timedelta(hours=1)
    restored.parameters.put(CURRENT, arn("later"), Note("pin", KIM, ""))
    assert [(each["snapshot"], bool(each["run"])) for each in history(ask)] == [
        (arn("later"), False),
        (arn("right"), True),
        (arn("wrong"), False),
        (arn("new"), True),
        (arn("old"), True),
    ]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("dummyvalue", "dummyvalue"),
        (SECRET, "something else, of 26 characters"),
        ("arn:aws:secretsmanager:eu-west-1:1:secret:x", "something else, of 43 characters"),
        (f"{arn('new')} ", f"something else, of {len(arn('new')) + 1} characters"),
    ],
)
def test_a_value_that_is_no_snapshot_is_told_by_its_length(
    ask: Api, aws: InMemoryAws, value: str, told: str
) -> None:
    aws.parameters.put(CURRENT, value, BY_HAND)
    assert history(ask)[0]["snapshot"] == told


def foreign(description: str) -> Entry:
    return Entry(2, arn("new"), SUNDAY, Note.read(description))


@pytest.mark.parametrize(
    "description",
    [
        "",
        "restored by hand, ask Kim",
        '{"action": ["pin"], "by": {}, "why": null, "token": null}',
        "[" * 1_024,
    ],
)
def test_what_somebody_else_wrote_is_by_unknown(
    ask: Api, aws: InMemoryAws, description: str
) -> None:
    aws.parameters.kept[CURRENT].append(foreign(description))
    entry = history(ask)[0]
    assert (entry["action"], entry["by"], entry["why"]) == ("unknown", "unknown", "unknown")


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "\x1b[2J\x00", "\ud800", "\u202e", "]]>", "a" * 250]
)
def test_hostile_words_in_the_ledger_do_no_harm(ask: Api, aws: InMemoryAws, text: str) -> None:
    """Whoever may write the parameter may write a Description as ours."""
    note = json.dumps({"action": text, "by": text, "why": text, "token": text})
    aws.parameters.kept[CURRENT].append(foreign(note))
    entry = history(ask)[0]
    assert (entry["action"], entry["by"], entry["why"]) == (text, text, text)
    assert ask("GET", "/status")[0] == 200
    code, _, page = ask.send("GET", "/")
    assert code == 200
    assert b"<script" not in page


def test_a_parameter_that_does_not_exist_has_no_history(ask: Api, aws: InMemoryAws) -> None:
    del aws.parameters.kept[CURRENT]
    assert history(ask) == []


def test_a_hundred_versions_are_told(ask: Api, aws: InMemoryAws) -> None:
    for number in range(150):
        aws.parameters.put(CURRENT, arn(f"orders-{number}"), BY_HAND)
    told = history(ask)
    assert [each["version"] for each in told] == list(range(151, 51, -1))


def test_runs_that_cannot_be_listed_are_not_taken_for_none(ask: Api, aws: InMemoryAws) -> None:
    refuse(aws, "runs")
    code, answer = ask("GET", "/snapshots/current/history")
    assert (code, answer["Message"]) == (500, "runs of it failed: AccessDeniedException: no")


def test_a_pipeline_that_does_not_exist_has_no_runs(ask: Api, aws: InMemoryAws) -> None:
    aws.parameters.put(PIPELINE_NAME, "elsewhere", BY_HAND)
    assert [entry["run"] for entry in history(ask)] == [None]


def test_each_database_has_its_own_history(two: Settings, documents: InMemoryAws) -> None:
    ask = Api(two, documents)
    assert [each["snapshot"] for each in history(ask, "?database=docs")] == [arn("docs-old")]
    assert [each["snapshot"] for each in history(ask, "?database=rds")] == [arn("old")]


def test_clocks_that_differ_by_less_than_a_minute_do_not_lose_a_run(
    ask: Api, aws: InMemoryAws
) -> None:
    aws.parameters.put(CURRENT, arn("new"), BY_HAND)
    start = aws.time - timedelta(seconds=59)
    aws.pipelines.pipelines[PIPELINE].append(Run("deploy-7", "InProgress", start, start))
    assert history(ask)[0]["run"]["execution_id"] == "deploy-7"


def test_times_are_told_in_utc_and_whole_seconds(ask: Api, aws: InMemoryAws) -> None:
    when = datetime.fromisoformat("2026-01-04T05:00:00.987654+01:00")
    aws.parameters.kept[CURRENT][-1] = aws.parameters.kept[CURRENT][-1]._replace(modified=when)
    assert history(ask)[0]["set"] == "2026-01-04T04:00:00+00:00"


# --- asking changes nothing -----------------------------------------------------------------------


@pytest.mark.parametrize("route", ["/status", "/snapshots", "/snapshots/current/history", "/"])
def test_asking_changes_nothing(ask: Api, restored: InMemoryAws, route: str) -> None:
    hold_until("2025-01-01")(restored)  # expired, and left as it is
    before = everything(restored)
    restored.calls.clear()
    assert ask.send("GET", route)[0] == 200
    assert everything(restored) == before
    assert set(restored.calls) <= READING


def test_a_status_takes_few_calls_however_many_databases(
    two: Settings, documents: InMemoryAws
) -> None:
    status(Api(two, documents))
    assert sorted(documents.calls) == sorted(["get", "history", "history", "runs", *["find"] * 4])
    assert OTHER_CURRENT in documents.values()


def test_now_is_the_worlds_clock(ask: Api, aws: InMemoryAws) -> None:
    aws.time = datetime(2027, 3, 1, 12, 30, 15, 500_000, tzinfo=UTC)
    assert status(ask)["schedule"]["now"] == "2027-03-01T12:30:15+00:00"
