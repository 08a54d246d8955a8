"""What `chalice deploy` does not make, as CloudFormation templates: pure functions of the stage.

The stack *before* holds what the functions rely on: parameters and the topic. The stack *after* holds
what monitors them: alarms, settings of asynchronous invocations, a dashboard.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from itertools import takewhile
from typing import Any

from chalicelib.domain.database import Database
from chalicelib.domain.functions import (
    APP,
    FOLLOW_PIPELINE,
    FOLLOW_SHARES,
    POLL,
    RECONCILE,
    RESTORE,
    UPDATE,
)
from chalicelib.domain.parameters import PLACEHOLDER
from chalicelib.domain.schedule import Expression
from chalicelib.observability import NAMESPACE, NOTIFICATION_FAILED
from cli.policies import API, deployed_name, log_group, policies
from cli.stages import AcceptanceStage, Stage

BEFORE, AFTER = "before", "after"
# The functions that run every 15 minutes, and what does not happen if they do not.
POLLS = {
    RECONCILE: "a failed run's snapshot may stay in current",
    FOLLOW_SHARES: "nothing is shared",
}

NOTIFICATION_ALARM = "notification-failed"
LOG_DAYS = 90
RETRIES = 2

Resource = dict[str, Any]
Template = dict[str, Any]

_RETAINED = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
_SHORTEST, _LONGEST = timedelta(minutes=1), timedelta(hours=6)  # Lambda's limits of an event's age
_YEAR = timedelta(days=366)
_WEEK = timedelta(days=7)  # an alarm looks back no further
_METRICS_IN_AN_ALARM = 10  # a metric math alarm's limit


# --- names ----------------------------------------------------------------------------------------


def own_stacks(stage: Stage) -> list[str]:
    """Return the names of the stacks that `aurora-refresh deploy` makes."""
    return [stack_name(stage.name, which) for which in (BEFORE, AFTER)]


def stack_name(stage_name: str, which: str) -> str:
    """Return the name of the stage's stack `before` or `after`."""
    return f"{APP}-{stage_name}-{which}"


def function_names(stage: Stage) -> dict[str, str]:
    """Return Lambda's names of the functions that the stage deploys, by Chalice's names."""
    return {function: deployed_name(stage.name, function) for function in policies(stage)}


def role_name(stage_name: str, function: str) -> str:
    """Return Chalice's name of a function's role."""
    return f"{APP}-{stage_name}-{function}"


def rule_name(stage_name: str, function: str) -> str:
    """Return Chalice's name of the rule that invokes a function."""
    return f"{deployed_name(stage_name, function)}-event"


def rule_names(stage: Stage) -> dict[str, str]:
    """Return the names of the rules that invoke the functions, by Chalice's names of these."""
    return {
        function: rule_name(stage.name, function)
        for function in function_names(stage)
        if function != API
    }


def log_groups(stage: Stage) -> list[str]:
    """Return the log groups of the stage's functions."""
    return [log_group(deployed) for deployed in function_names(stage).values()]


def alarm_names(stage: Stage) -> list[str]:
    """Return the names of the stage's alarms."""
    return [alarm["Properties"]["AlarmName"] for alarm in _alarms(stage).values()]


def dashboard_name(stage_name: str) -> str:
    """Return the name of the stage's dashboard."""
    return f"{APP}-{stage_name}"


def packaged_stacks(stage_name: str) -> dict[str, str]:
    """Return the stacks of a packaged stage in the order of their creation, by template."""
    return {
        "before.json": stack_name(stage_name, BEFORE),
        "sam.json": f"{APP}-{stage_name}",
        "after.json": stack_name(stage_name, AFTER),
    }


def names_of_packaged(stage: Stage) -> Template:
    """Return the names of functions and rules, to be merged into the template of `chalice package`.

    CloudFormation would invent other names, for which roles allow no logs and alarms do not exist.
    """
    return {
        "Resources": {
            _logical_of(function): {"Properties": _named(stage, function)}
            for function in function_names(stage)
        }
    }


def _named(stage: Stage, function: str) -> dict[str, Any]:
    named: dict[str, Any] = {"FunctionName": deployed_name(stage.name, function)}
    if function != API:
        rule = rule_name(stage.name, function)
        # Chalice writes CloudWatchEvent, for which SAM has no name. EventBridgeRule is the same rule.
        # https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-property-function-eventbridgerule.html
        event = (
            {"Type": "EventBridgeRule", "Properties": {"RuleName": rule}}
            if function == FOLLOW_PIPELINE
            else {"Properties": {"Name": rule}}
        )
        named["Events"] = {f"{_logical_of(function)}Event": event}
    return named


def _logical_of(function: str) -> str:
    """Return Chalice's logical name of a function in a packaged template."""
    words = re.split("[-_]", function)
    return "APIHandler" if function == API else "".join(word.capitalize() for word in words)


def own_topic(stage: Stage) -> str | None:
    """Return the ARN of the topic if it belongs to the stage's account and Region."""
    arn = stage.settings.topic_arn
    return arn if arn and arn.split(":")[3:5] == [stage.region, stage.account] else None


def parameters_of(stage: Stage) -> tuple[str, ...]:
    """Return the names of the stage's parameters."""
    return stage.settings.promotion_parameters if isinstance(stage, AcceptanceStage) else ()


def label(resource: Resource) -> str:
    """Return what people call a resource of the templates."""
    kind, properties = resource["Type"], resource["Properties"]
    title, key = {
        "AWS::SSM::Parameter": ("parameter", "Name"),
        "AWS::SNS::Topic": ("topic", "TopicName"),
        "AWS::SNS::Subscription": ("e-mail subscription of", "Endpoint"),
        "AWS::CloudWatch::Alarm": ("alarm", "AlarmName"),
        "AWS::CloudWatch::Dashboard": ("dashboard", "DashboardName"),
        "AWS::Lambda::EventInvokeConfig": ("asynchronous invocation of", "FunctionName"),
    }[kind]
    return f"{title} {properties[key]}"


# --- before ---------------------------------------------------------------------------------------


def before(
    stage: Stage,
    previous: Template | None,
    existing: Collection[str],
    initial: Mapping[str, str],
    email: str | None,
) -> Template:
    """Return the template of what the functions rely on; it may have no resources.

    `previous` is the stack's present template. `existing` has those of the stage's parameters, topic
    and subscribers that exist, in the stack or outside. `initial` has first values of *current* by
    parameter name. An `email` of None keeps the subscription, "" removes it.

    CloudFormation overwrites a parameter whenever its text in the template changes, whatever it holds
    by then. So resources of the stack are copied verbatim, and those outside are left alone.
    """
    held: Mapping[str, Resource] = (previous or {}).get("Resources", {})
    resources: dict[str, Resource] = {}
    for name, (value, description) in _wanted_parameters(stage, initial).items():
        properties = {"Name": name, "Type": "String", "Value": value, "Description": description}
        wanted = {"Type": "AWS::SSM::Parameter", **_RETAINED, "Properties": properties}
        one = _one(wanted, "Name", name, held, exists=name in existing)
        if isinstance(stage, AcceptanceStage) and name == stage.settings.pipeline_parameter:
            # No function changes it, so it follows the configuration.
            one = {
                logical: {**each, "Properties": {**each["Properties"], "Value": value}}
                for logical, each in one.items()
            }
        resources |= one
    topic = own_topic(stage)
    made: dict[str, Resource] = {}
    if topic:
        properties = {"TopicName": topic.rsplit(":", 1)[1]}
        wanted = {"Type": "AWS::SNS::Topic", **_RETAINED, "Properties": properties}
        made = _one(wanted, "TopicName", properties["TopicName"], held, exists=topic in existing)
        endpoint = subscribed(previous) if email is None else email
        if endpoint:
            gone = email == subscribed(previous) and email not in existing
            made["EmailAgain" if gone != ("EmailAgain" in held) else "Email"] = {
                "Type": "AWS::SNS::Subscription",
                **({"DependsOn": [*made]} if made else {}),
                "Properties": {"TopicArn": topic, "Protocol": "email", "Endpoint": endpoint},
            }
    return _template(f"{APP}, stage {stage.name}: what the functions rely on", resources | made)


def packaged_before(stage: Stage) -> Template:
    """Return the same for people who deploy it themselves, without a look at what exists.

    First values and the e-mail address are parameters of the stack, which an update keeps. Everything
    else of a stored parameter is the same in every package, or CloudFormation would write its first
    value again. Logical names differ from those of `before`, so that an update of its stack fails.
    """
    parameters: dict[str, Any] = {}
    resources: dict[str, Resource] = {}
    current = _current_parameters(stage)
    for name, (value, _) in _wanted_parameters(stage, {}).items():
        first: Any = value
        if name in current:
            given = _logical("First", name)
            parameters[given] = {
                "Type": "String",
                "Default": PLACEHOLDER,
                "Description": f"First value of {name}, a snapshot's ARN. Do not change it later: it would "
                "overwrite whatever the parameter holds by then",
            }
            first = {"Ref": given}
        resources[_logical("Packaged", name)] = {
            "Type": "AWS::SSM::Parameter",
            **_RETAINED,
            "Properties": {
                "Name": name,
                "Type": "String",
                "Value": first,
                "Description": f"{APP}; the stack knows only its first value",
            },
        }
    for group in log_groups(stage):
        resources[_logical("Packaged", group)] = {
            "Type": "AWS::Logs::LogGroup",
            **_RETAINED,
            "Properties": {"LogGroupName": group, "RetentionInDays": LOG_DAYS},
        }
    topic, conditions = own_topic(stage), {}
    if topic:
        made = _logical("Packaged", topic)
        resources[made] = {
            "Type": "AWS::SNS::Topic",
            **_RETAINED,
            "Properties": {"TopicName": topic.rsplit(":", 1)[1]},
        }
        parameters["Email"] = {
            "Type": "String",
            "Default": "",
            "Description": "E-mail address that receives the topic's notifications; empty: none",
        }
        conditions = {"HasEmail": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Email"}, ""]}]}}
        resources["PackagedEmail"] = {
            "Type": "AWS::SNS::Subscription",
            "Condition": "HasEmail",
            "Properties": {
                "TopicArn": {"Ref": made},
                "Protocol": "email",
                "Endpoint": {"Ref": "Email"},
            },
        }
    return {
        **_template(f"{APP}, stage {stage.name}: what the functions rely on, packaged", resources),
        "Parameters": parameters,
        **({"Conditions": conditions} if conditions else {}),
    }


def subscribed(template: Template | None) -> str:
    """Return the e-mail address of the template's subscription; "" for none."""
    for resource in (template or {}).get("Resources", {}).values():
        if resource["Type"] == "AWS::SNS::Subscription":
            return str(resource["Properties"]["Endpoint"])
    return ""


def _current_parameters(stage: Stage) -> set[str]:
    if not isinstance(stage, AcceptanceStage):
        return set()
    return {database.current_parameter for database in stage.settings.databases}


def _wanted_parameters(stage: Stage, initial: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the first value and the description of every parameter of the stage, by name."""
    if not isinstance(stage, AcceptanceStage):
        return {}
    settings = stage.settings
    wanted = {settings.pipeline_parameter: (stage.pipeline, "The main pipeline's name")}
    for database in settings.databases:
        name = database.current_parameter
        wanted[database.latest_parameter] = (PLACEHOLDER, f"Newest snapshot for {database.name}")
        wanted[name] = (initial.get(name, PLACEHOLDER), f"Snapshot that {database.name} is made of")
    if settings.hold_parameter:
        wanted[settings.hold_parameter] = (PLACEHOLDER, "Until when no refresh is scheduled")
    return wanted


def _one(
    wanted: Resource, key: str, value: str, held: Mapping[str, Resource], *, exists: bool
) -> dict[str, Resource]:
    """Return the resource by its logical name: the stack's own, the wanted one, or none."""
    logical = _logical(wanted["Type"].rsplit("::")[-1], value)
    known = [
        (name, resource)
        for name, resource in held.items()
        if resource["Type"] == wanted["Type"] and resource["Properties"].get(key) == value
    ]
    if exists:
        return dict(known[:1])
    # CloudFormation recreates a resource deleted outside the stack only under another logical name.
    taken = [name for name, _ in known]
    return {f"{logical}Again" if logical in taken else logical: wanted}


def _logical(word: str, name: str) -> str:
    """Return a logical name: letters and digits, and a hash of the other characters."""
    readable = re.sub("[^A-Za-z0-9]", "", name.title())[:100]
    distinct = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{word}{readable}{distinct}"


# --- after ----------------------------------------------------------------------------------------


def after(stage: Stage) -> Template:
    """Return the template of what monitors the functions."""
    resources = _alarms(stage)
    if isinstance(stage, AcceptanceStage):
        resources |= _invocations(stage)
        resources["Dashboard"] = {
            "Type": "AWS::CloudWatch::Dashboard",
            "Properties": {
                "DashboardName": dashboard_name(stage.name),
                "DashboardBody": json.dumps(_dashboard(stage), separators=(",", ":")),
            },
        }
    return _template(f"{APP}, stage {stage.name}: what watches over the functions", resources)


def _invocations(stage: AcceptanceStage) -> dict[str, Resource]:
    """Return the settings of the functions' asynchronous invocations, by logical name."""
    resources, deployed, topic = {}, function_names(stage), stage.settings.topic_arn
    on_failure = {"DestinationConfig": {"OnFailure": {"Destination": topic}}} if topic else {}
    for function, age in event_ages(stage).items():
        resources[_logical("Invocation", function)] = {
            "Type": "AWS::Lambda::EventInvokeConfig",
            "Properties": {
                "FunctionName": deployed[function],
                "Qualifier": "$LATEST",
                "MaximumRetryAttempts": RETRIES,
                "MaximumEventAgeInSeconds": int(age.total_seconds()),
                **on_failure,
            },
        }
    return resources


def missing_alarms(stage: Stage) -> list[str]:
    """Return why the stage has fewer alarms than it could."""
    missing = []
    if isinstance(stage, AcceptanceStage):
        if not fires_weekly(stage.settings.restore_schedule, _start(stage)):
            missing.append(
                f"no alarm on an overdue refresh: {stage.settings.restore_schedule} does not fire in "
                "every 7 days, the longest period of an alarm"
            )
        if stage.settings.max_age is None:
            missing.append("no alarm on old data: MAX_SNAPSHOT_AGE_DAYS is 0, which is no limit")
    if stage.settings.topic_arn is None:
        missing.append(
            "alarms notify nobody: NOTIFICATION_TOPIC_ARN is not set; "
            f"aurora-refresh configure --stage {stage.name} NOTIFICATION_TOPIC_ARN={proposed_topic(stage)} sets "
            f"it, and aurora-refresh deploy --stage {stage.name} creates the topic"
        )
    return missing


def proposed_topic(stage: Stage) -> str:
    """Return the ARN of a topic that `aurora-refresh deploy` could create."""
    return f"arn:{stage.partition}:sns:{stage.region}:{stage.account}:{APP}"


def event_ages(stage: AcceptanceStage) -> dict[str, timedelta]:
    """Return how long Lambda keeps trying to deliver an event to each function, by Chalice's name.

    A restore is useful until the window closes, a new *latest* until the next restore. It is the
    shortest such time in a year, because clocks change.
    """
    settings, start = stage.settings, _start(stage)
    restores = settings.restore_schedule
    return {
        UPDATE: _shortest(_until_the_next(settings.update_schedule, restores, start)),
        RESTORE: _shortest(_until_the_window_closes(stage, start)),
        FOLLOW_PIPELINE: _LONGEST,
        RECONCILE: _rate(Expression.parse(POLL)),  # until the next one comes
    }


def fires_weekly(schedule: Expression, start: datetime) -> bool:
    """Return whether the schedule fires in every period of seven days."""
    if schedule.is_rate:
        return _rate(schedule) <= _WEEK
    last = start
    for fire in (*_fires(schedule, start), start + _YEAR):
        if fire - last > _WEEK:
            return False
        last = fire
    return True


def _start(stage: AcceptanceStage) -> datetime:
    """Return the start of the year to look at.

    It is the first run from the anchor on, so that templates do not depend on the clock.
    """
    anchor = datetime.combine(stage.settings.cadence.anchor, time(), UTC) - timedelta(minutes=1)
    return stage.settings.restore_schedule.next_after(anchor) or anchor


def _fires(schedule: Expression, start: datetime) -> Iterator[datetime]:
    """Yield the times in the year from `start` on."""
    just_before = start - timedelta(minutes=1)
    return takewhile(lambda fire: fire < start + _YEAR, schedule.fires_after(just_before))


def _rate(schedule: Expression) -> timedelta:
    match = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", schedule.text)
    assert match is not None
    return timedelta(**{f"{match[2]}s": int(match[1])})


def _until_the_window_closes(stage: AcceptanceStage, start: datetime) -> Iterator[timedelta]:
    """Yield the time from each scheduled restore until the window closes, at most 6 hours."""
    settings, minute = stage.settings, timedelta(minutes=1)
    close = start
    for fire in _fires(settings.restore_schedule, start):
        day = settings.window.date_of(fire)
        if not (settings.cadence.is_on_week(day) and settings.window.contains(fire)):
            continue  # refused whenever it comes
        close = max(close, fire)
        while close - fire < _LONGEST and settings.window.contains(close):
            close += minute
        yield close - fire


def _until_the_next(
    schedule: Expression, other: Expression, start: datetime
) -> Iterator[timedelta]:
    """Yield the time from each run of one schedule until the next run of the other."""
    others = other.fires_after(start - timedelta(minutes=1))
    following = next(others, None)
    for fire in _fires(schedule, start):
        while following and following <= fire:
            following = next(others, None)
        if following is None:
            return
        yield following - fire


def _shortest(spans: Iterable[timedelta]) -> timedelta:
    """Return the shortest of the times within Lambda's limits; a rate has no known times."""
    shortest = _LONGEST
    for span in spans:
        shortest = min(shortest, span)
        if shortest <= _SHORTEST:
            return _SHORTEST
    return shortest


def _alarms(stage: Stage) -> dict[str, Resource]:
    """Return the alarms by logical name."""
    alarms: dict[str, Resource] = {}
    topic = stage.settings.topic_arn
    actions = {"AlarmActions": [topic]} if topic else {}

    def add(name: str, description: str, **properties: Any) -> None:
        alarms[_logical("Alarm", name)] = {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {
                "AlarmName": f"{APP}-{stage.name}-{name}",
                "AlarmDescription": description,
                **actions,
                "EvaluationPeriods": 1,
                **properties,
            },
        }

    for function, name in function_names(stage).items():
        add(
            f"errors-{function.replace('_', '-')}",
            f"{name} ended with an error; see its log in CloudWatch.",
            # A poll that always fails is one lasting alarm, not one that comes and goes all day.
            **_lambda("Errors", name, "Sum", 900 if function in POLLS else 300),
            **_at_least_one,
            TreatMissingData="notBreaching",
        )
    for function, effect in POLLS.items():
        if function in function_names(stage):
            poll = deployed_name(stage.name, function)
            add(
                f"{function.removeprefix('db-').removesuffix('-shares')}-overdue",
                f"{poll} was not invoked for an hour, so {effect}: is its rule enabled? In a new "
                "stage, this alarm is on until the first polls.",
                **_lambda("Invocations", poll, "Sum", 900),
                **_not_invoked(4),
            )
    if topic or stage.settings.chat_topic_arn:
        add(
            NOTIFICATION_ALARM,
            "A notification could not be published; see the functions' logs. This alarm notifies nobody, "
            "because the topic may be what fails.",
            Namespace=NAMESPACE,
            MetricName=NOTIFICATION_FAILED,
            Dimensions=[{"Name": "stage", "Value": stage.name}],
            Statistic="Sum",
            Period=300,
            **_at_least_one,
            TreatMissingData="notBreaching",
            AlarmActions=[],
        )
    if isinstance(stage, AcceptanceStage):
        _add_refresh_alarms(stage, add)
    return alarms


def _add_refresh_alarms(stage: AcceptanceStage, add: Callable[..., None]) -> None:
    settings, restore = stage.settings, deployed_name(stage.name, RESTORE)
    if fires_weekly(settings.restore_schedule, _start(stage)):
        add(
            "refresh-overdue",
            f"{restore} was not invoked for 7 days: is its rule enabled? In a new stage, this alarm "
            "is on until the first night.",
            **_lambda("Invocations", restore, "Sum", 86400),
            **_not_invoked(7),
        )
    every = range(0, len(settings.databases), _METRICS_IN_AN_ALARM)
    for number, first in enumerate(every, 1):
        databases = settings.databases[first : first + _METRICS_IN_AN_ALARM]
        more = f"-{number}" if number > 1 else ""
        add(
            f"refresh-failed{more}",
            "A refresh failed; see the notification or GET /status.",
            **_over(stage.name, "RefreshFailed", "Sum", databases),
            **_at_least_one,
            TreatMissingData="notBreaching",
        )
        if settings.max_age is not None:
            add(
                f"data-too-old{more}",
                f"The newest data is older than {settings.max_age.days} days (MAX_SNAPSHOT_AGE_DAYS).",
                **_over(stage.name, "SnapshotAgeHours", "Maximum", databases),
                ComparisonOperator="GreaterThanThreshold",
                Threshold=settings.max_age.days * 24,
                # There is one value a night, which holds until the next one.
                TreatMissingData="ignore",
            )


def _not_invoked(periods: int) -> dict[str, Any]:
    return {
        "EvaluationPeriods": periods,
        "DatapointsToAlarm": periods,
        "ComparisonOperator": "LessThanThreshold",
        "Threshold": 1,
        # A function that is not invoked has no such metric at all.
        "TreatMissingData": "breaching",
    }


_at_least_one = {"ComparisonOperator": "GreaterThanOrEqualToThreshold", "Threshold": 1}


def _lambda(metric: str, function: str, statistic: str, period: int) -> dict[str, Any]:
    return {
        "Namespace": "AWS/Lambda",
        "MetricName": metric,
        "Dimensions": [{"Name": "FunctionName", "Value": function}],
        "Statistic": statistic,
        "Period": period,
    }


def _over(
    stage_name: str, metric: str, statistic: str, databases: tuple[Database, ...]
) -> dict[str, Any]:
    """Return an alarm's metric: the sum or the maximum of databases in five minutes."""
    if len(databases) == 1:
        return {
            "Namespace": NAMESPACE,
            "MetricName": metric,
            "Dimensions": _dimensions(stage_name, databases[0].name),
            "Statistic": statistic,
            "Period": 300,
        }
    metrics = [
        {
            "Id": f"m{number}",
            "MetricStat": {
                "Metric": {
                    "Namespace": NAMESPACE,
                    "MetricName": metric,
                    "Dimensions": _dimensions(stage_name, database.name),
                },
                "Period": 300,
                "Stat": statistic,
            },
            "ReturnData": False,
        }
        for number, database in enumerate(databases, 1)
    ]
    function = {"Sum": "SUM", "Maximum": "MAX"}[statistic]
    overall = {"Id": "overall", "Expression": f"{function}(METRICS())", "Label": metric}
    return {"Metrics": [*metrics, {**overall, "ReturnData": True}]}


def _dimensions(stage_name: str, database: str) -> list[dict[str, str]]:
    return [{"Name": "stage", "Value": stage_name}, {"Name": "database", "Value": database}]


def _dashboard(stage: AcceptanceStage) -> dict[str, Any]:
    """Return the dashboard's body: refreshes on the left, functions on the right."""
    names = [database.name for database in stage.settings.databases]
    deployed = function_names(stage).values()

    def graph(title: str, metrics: list[list[Any]], statistic: str, **more: Any) -> dict[str, Any]:
        return {
            "type": "metric",
            "width": 12,
            "height": 6,
            "properties": {
                "title": title,
                "region": stage.region,
                "metrics": metrics,
                "stat": statistic,
                "period": 3600,
                "view": "timeSeries",
                **more,
            },
        }

    def counted(metric: str) -> list[list[Any]]:
        return [[NAMESPACE, metric, "stage", stage.name, "database", name] for name in names]

    def invoked(metric: str) -> list[list[Any]]:
        return [["AWS/Lambda", metric, "FunctionName", name] for name in deployed]

    outcomes = ("RefreshStarted", "RefreshSucceeded", "RefreshFailed", "RefreshSkipped")
    limit = stage.settings.max_age
    line = {"label": "MAX_SNAPSHOT_AGE_DAYS", "value": limit.days * 24} if limit else None
    graphs = [
        graph("Refreshes", [each for name in outcomes for each in counted(name)], "Sum"),
        graph("Errors of the functions", invoked("Errors"), "Sum"),
        graph(
            "Age of the data, hours",
            counted("SnapshotAgeHours"),
            "Maximum",
            **({"annotations": {"horizontal": [line]}} if line else {}),
        ),
        graph("Invocations", invoked("Invocations"), "Sum"),
        graph("Duration of a refresh, minutes", counted("RefreshDurationMinutes"), "Maximum"),
        graph("Duration of the functions, ms", invoked("Duration"), "Maximum"),
        graph(
            "Notifications not published",
            [[NAMESPACE, NOTIFICATION_FAILED, "stage", stage.name]],
            "Sum",
        ),
        {
            "type": "alarm",
            "width": 12,
            "height": 6,
            "properties": {
                "title": "Alarms",
                "alarms": [
                    f"arn:{stage.partition}:cloudwatch:{stage.region}:{stage.account}:alarm:{name}"
                    for name in alarm_names(stage)
                ],
            },
        },
    ]
    return {
        "widgets": [
            {**each, "x": 12 * (number % 2), "y": 6 * (number // 2)}
            for number, each in enumerate(graphs)
        ]
    }


def _template(description: str, resources: Mapping[str, Resource]) -> Template:
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": description,
        "Resources": dict(resources),
    }
