"""What stands before and after ``chalice deploy``: pure functions of the stage."""

import json
from collections.abc import Mapping

import cfnlint
import pytest

from chalicelib.domain.functions import API, FOLLOW_SHARES, RECONCILE, RESTORE, SHARE, UPDATE
from chalicelib.domain.functions import FOLLOW_PIPELINE as FOLLOW
from cli import stacks, stages
from tests.stage import CURRENT, LATEST, OTHER_CURRENT, OTHER_LATEST, PIPELINE_NAME, STAGE, TWO

PIPELINE = "arn:aws:codepipeline:eu-west-1:222222222222:acceptance-main"
TOPIC = "arn:aws:sns:eu-west-1:222222222222:aurora-refresh"
ELSEWHERE = "arn:aws:sns:eu-west-1:333333333333:aurora-refresh"
HOLD = "/acceptance/refresh/hold"
FULL = STAGE | {"NOTIFICATION_TOPIC_ARN": TOPIC, "SSM_REFRESH_HOLD_NAME": HOLD}


def stage(variables: Mapping[str, str] = FULL, **more: str) -> stages.Stage:
    return stages.build("acceptance", {**variables, **more}, {stages.PIPELINE: PIPELINE})


# --- before ---------------------------------------------------------------------------------------


def test_a_stage_has_parameters_with_first_values_and_a_topic_of_its_own() -> None:
    placeholders = dict.fromkeys((LATEST, CURRENT, OTHER_LATEST, OTHER_CURRENT, HOLD), "dummyvalue")
    name = {PIPELINE_NAME: "acceptance-main"}
    assert stacks.parameters(stage(FULL | TWO)) == placeholders | name
    assert stacks.parameters(stage(STAGE)).keys() == {PIPELINE_NAME, LATEST, CURRENT}
    assert stacks.own_topic(stage()) == TOPIC
    for topic in (ELSEWHERE, TOPIC.replace("eu-west-1", "eu-west-2")):
        assert stacks.own_topic(stage(STAGE, NOTIFICATION_TOPIC_ARN=topic)) is None


def test_a_packaged_stage_has_its_topic_and_logs_retained_and_no_parameter() -> None:
    """CloudFormation writes a parameter's first value again where anything else of it changes."""
    template = stacks.packaged_before(stage())
    kinds = [(each["Type"], each.get("DeletionPolicy")) for each in template["Resources"].values()]
    topic = [("AWS::SNS::Topic", "Retain"), ("AWS::SNS::Subscription", None)]
    assert kinds == [*[("AWS::Logs::LogGroup", "Retain")] * 5, *topic]
    assert template["Parameters"]["Email"]["Default"] == ""
    without_topic = stacks.packaged_before(stage(FULL, NOTIFICATION_TOPIC_ARN=ELSEWHERE))
    assert ("Conditions" in without_topic, without_topic["Parameters"]) == (False, {})


# --- after ----------------------------------------------------------------------------------------


def alarms(made: stages.Stage) -> dict[str, stacks.Resource]:
    """The properties of each alarm by its logical name."""
    resources, kind = stacks.after(made)["Resources"].items(), "AWS::CloudWatch::Alarm"
    return {logical: each["Properties"] for logical, each in resources if each["Type"] == kind}


# When an alarm on a metric is on, and what a missing value means.
CONDITIONS = {
    "Errors": "AWS/Lambda FunctionName Sum GreaterThanOrEqualToThreshold 1 notBreaching",
    "Invocations": "AWS/Lambda FunctionName Sum LessThanThreshold 1 breaching",
    "NotificationFailed": "AuroraRefresh stage Sum GreaterThanOrEqualToThreshold 1 notBreaching",
    "RefreshFailed": "AuroraRefresh stage Sum GreaterThanOrEqualToThreshold 1 notBreaching",
}
SHORT, LONG, HOUR, WEEK = "1 x 300 s", "1 x 900 s", "4 x 900 s", "7 x 86400 s"
# The metric, whose it is, and for how long. A poll that always fails is one lasting alarm.
ALARMS = {
    **{f"errors-{each}": ("Errors", each, SHORT) for each in (UPDATE, RESTORE, FOLLOW)},
    f"errors-{RECONCILE}": ("Errors", RECONCILE, LONG),
    "errors-api-handler": ("Errors", API, SHORT),
    "reconcile-overdue": ("Invocations", RECONCILE, HOUR),
    "refresh-overdue": ("Invocations", RESTORE, WEEK),
    "update-overdue": ("Invocations", UPDATE, WEEK),
    "notification-failed": ("NotificationFailed", "acceptance", SHORT),
    "refresh-failed": ("RefreshFailed", "acceptance", SHORT),
}
SHARING = {"SHARE_WITH_ACCOUNT": "222222222222", "CLUSTERS": "orders"}
SHARING |= {"NOTIFICATION_TOPIC_ARN": "arn:aws:sns:eu-west-1:111111111111:aurora-refresh"}
PLACE = {stages.ACCOUNT: "111111111111", stages.REGION: "eu-west-1"}
PRODUCTION = stages.build("weekly", SHARING, PLACE)
PRODUCTIONS_ALARMS = {
    f"errors-{SHARE}": ("Errors", SHARE, SHORT),
    f"errors-{FOLLOW_SHARES}": ("Errors", FOLLOW_SHARES, LONG),
    "follow-overdue": ("Invocations", FOLLOW_SHARES, HOUR),
    "share-overdue": ("Invocations", SHARE, WEEK),
    "notification-failed": ("NotificationFailed", "weekly", SHORT),
}


@pytest.mark.parametrize(
    ("made", "expected"), [(stage(), ALARMS), (PRODUCTION, PRODUCTIONS_ALARMS)]
)
def test_each_alarm_watches_its_metric_and_notifies_the_topic(
    made: stages.Stage, expected: dict[str, tuple[str, str, str]]
) -> None:
    watched, functions = {}, stacks.function_names(made)
    for logical, alarm in alarms(made).items():
        metric, (dimension,) = alarm["MetricName"], alarm["Dimensions"]
        name = alarm["AlarmName"].removeprefix(f"aurora-refresh-{made.name}-")
        # CloudFormation would take another logical name for another alarm.
        assert logical == stacks._logical("Alarm", name)  # noqa: SLF001
        periods = f"{alarm['EvaluationPeriods']} x {alarm['Period']} s"
        watched[name] = (metric, dimension["Value"], periods)
        keys = ("Statistic", "ComparisonOperator", "Threshold", "TreatMissingData")
        facts = [alarm["Namespace"], dimension["Name"], *(alarm[key] for key in keys)]
        assert " ".join(map(str, facts)) == CONDITIONS[metric]
        assert alarm.get("DatapointsToAlarm", 1) == alarm["EvaluationPeriods"]
        # The topic may be what fails.
        notified = [] if name == "notification-failed" else [made.settings.topic_arn]
        assert alarm.get("AlarmActions", []) == notified
    rows = expected.items()
    assert watched == {name: (what, functions.get(of, of), time) for name, (what, of, time) in rows}


OVERDUE = "refresh-overdue"


@pytest.mark.parametrize(
    ("settings", "alarm"),
    [
        ({"PIN_API_ENABLED": "false"}, "errors-api-handler"),
        ({"NOTIFICATION_TOPIC_ARN": ""}, "notification-failed"),
        # A refresh is due in each period of seven days, or it has no alarm.
        ({"RESTORE_SCHEDULE": "rate(8 days)"}, OVERDUE),
        ({"UPDATE_SCHEDULE": "rate(8 days)"}, "update-overdue"),
        ({"RESTORE_SCHEDULE": "cron(0 4 ? JAN-OCT SUN *)"}, OVERDUE),
        ({"RESTORE_SCHEDULE": "cron(0 4 ? * SUN 2026)"}, OVERDUE),  # no more after that
        ({"RESTORE_SCHEDULE": "cron(0 4 ? * SUN 2030-2199)"}, ""),  # from then on
        # An hour more than seven days pass in autumn, but the rule fires at both times in UTC.
        ({"RESTORE_SCHEDULE": "cron(0 4 ? * SUN *) Europe/Amsterdam"}, ""),
    ],
)
def test_what_a_stage_leaves_out_has_no_alarm(settings: dict[str, str], alarm: str) -> None:
    made = stage(**settings)
    whole = json.dumps(stacks.after(made))
    notifies = ["AlarmActions" in whole, "DestinationConfig" in whole]
    assert notifies == [made.settings.topic_arn is not None] * 2
    every = stacks.alarms(made, whatever_it_has=True)  # of either kind
    names = {f"aurora-refresh-acceptance-{each}" for each in (*ALARMS, *PRODUCTIONS_ALARMS)}
    assert {*every} == names
    left_out = {*stacks.alarms(stage())} - {*stacks.alarms(made)}
    assert left_out == ({f"aurora-refresh-acceptance-{alarm}"} if alarm else set())


def test_events_are_retried_twice_and_failures_go_to_the_topic_except_a_poll_s() -> None:
    """The next poll does the same, and a poll that always fails has its alarm."""
    notified = {"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 6 * 3600}
    notified |= {"DestinationConfig": {"OnFailure": {"Destination": TOPIC}}}
    poll = {"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 900}
    expected = dict.fromkeys((UPDATE, RESTORE, FOLLOW), notified) | {RECONCILE: poll}
    logical = {stacks._logical("Invocation", name) for name in expected}  # noqa: SLF001
    resources = stacks.after(stage())["Resources"]
    assert resources.keys() - alarms(stage()) == logical | {"Dashboard"}
    assert [each["Properties"] for name, each in resources.items() if name in logical] == [
        {"FunctionName": f"aurora-refresh-acceptance-{name}", "Qualifier": "$LATEST", **settings}
        for name, settings in expected.items()
    ]


def test_the_dashboard_shows_the_stage_and_every_function_in_its_region() -> None:
    dashboard = stacks.after(stage())["Resources"]["Dashboard"]["Properties"]
    assert dashboard["DashboardName"] == stacks.dashboard_name("acceptance")
    shown = [each["properties"] for each in json.loads(dashboard["DashboardBody"])["widgets"]]
    assert {each["region"] for each in shown} == {"eu-west-1"}
    functions = {*stacks.function_names(stage()).values()}
    assert {metric[3] for each in shown for metric in each["metrics"]} == functions | {"acceptance"}


def test_the_templates_are_cfn_lint_clean() -> None:
    made = stage(TWO | FULL, RESTORE_SCHEDULE="rate(14 days)")
    for template in (stacks.packaged_before(made), stacks.after(made)):
        assert cfnlint.lint(json.dumps(template), regions=["eu-west-1"]) == []
