"""What ``chalice deploy`` does not make, as CloudFormation templates: pure functions of the stage.

The stack *before* holds what must exist before the functions do: parameters and the topic. The stack *after*
holds what watches over them: alarms, the settings of asynchronous invocations, a dashboard.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from itertools import takewhile
from typing import Any

from chalicelib.domain.database import Database
from chalicelib.domain.functions import POLL
from chalicelib.domain.hold import PLACEHOLDER
from chalicelib.domain.schedule import Expression
from chalicelib.observability import NAMESPACE
from stage.config import Stage
from stage.policies import (
    API,
    APP,
    COPIES,
    FOLLOW,
    RESTORE,
    UPDATE,
    deployed_name,
    log_group,
)

BEFORE, AFTER = "before", "after"

LOG_DAYS = 90
RETRIES = 2

Resource = dict[str, Any]
Template = dict[str, Any]

_RETAINED = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
_SHORTEST, _LONGEST = timedelta(minutes=1), timedelta(hours=6)  # what Lambda lets an event's age be
_YEAR = timedelta(days=366)
_WEEK = timedelta(days=7)  # an alarm looks back no further
_METRICS_IN_AN_ALARM = 10  # of metric math


# --- names ----------------------------------------------------------------------------------------


def stack_name(stage_name: str, which: str) -> str:
    """The name of the stage's stack: ``before`` or ``after``."""
    return f"{APP}-{stage_name}-{which}"


def function_names(stage: Stage) -> dict[str, str]:
    """The functions that the stage deploys: Lambda's name of each, by Chalice's."""
    functions = [UPDATE, RESTORE, FOLLOW]
    if stage.settings.has_copies:
        functions.append(COPIES)
    if stage.settings.pin_api_enabled:
        functions.append(API)
    return {function: deployed_name(stage.name, function) for function in functions}


def role_name(stage_name: str, function: str) -> str:
    """Chalice's name of a function's role."""
    return f"{APP}-{stage_name}-{function}"


def rule_name(stage_name: str, function: str) -> str:
    """Chalice's name of the rule that starts a function."""
    return f"{deployed_name(stage_name, function)}-event"


def log_groups(stage: Stage) -> list[str]:
    """Where the stage's functions log."""
    return [log_group(deployed) for deployed in function_names(stage).values()]


def alarm_names(stage: Stage) -> list[str]:
    """The names of the alarms that the stage has."""
    return [alarm["Properties"]["AlarmName"] for alarm in _alarms(stage).values()]


def dashboard_name(stage_name: str) -> str:
    """The name of the stage's dashboard."""
    return f"{APP}-{stage_name}"


def packaged_stacks(stage_name: str) -> dict[str, str]:
    """The stacks of a stage that ``make package`` wrote, in the order of their making, by template."""
    return {
        "before.json": stack_name(stage_name, BEFORE),
        "sam.json": f"{APP}-{stage_name}",
        "after.json": stack_name(stage_name, AFTER),
    }


def names_of_packaged(stage: Stage) -> Template:
    """What is to be merged into the template of ``chalice package``: the names of functions and rules.

    CloudFormation would make up others, which the roles let write no logs, and no alarm watches.
    """
    return {
        "Resources": {
            _chalice_s(function): {"Properties": _named(stage, function)}
            for function in function_names(stage)
        }
    }


def _named(stage: Stage, function: str) -> dict[str, Any]:
    named: dict[str, Any] = {"FunctionName": deployed_name(stage.name, function)}
    if function != API:
        rule = rule_name(stage.name, function)
        # Of CloudWatchEvent, which Chalice writes, SAM's guide knows no name; the other is the same rule.
        # https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-property-function-eventbridgerule.html
        event = (
            {"Type": "EventBridgeRule", "Properties": {"RuleName": rule}}
            if function == FOLLOW
            else {"Properties": {"Name": rule}}
        )
        named["Events"] = {f"{_chalice_s(function)}Event": event}
    return named


def _chalice_s(function: str) -> str:
    """Chalice's logical name of a function in the template that it packages."""
    words = re.split("[-_]", function)
    return "APIHandler" if function == API else "".join(word.capitalize() for word in words)


def own_topic(stage: Stage) -> str | None:
    """The ARN of the topic, if it is one that the stage's account may make."""
    arn = stage.settings.topic_arn
    return arn if arn and arn.split(":")[3:5] == [stage.region, stage.account] else None


def moving_parameters(stage: Stage) -> list[str]:
    """The parameters whose values move: each *latest* and *current*, and the hold."""
    names = [
        name
        for database in stage.settings.databases
        for name in (database.latest_parameter, database.current_parameter)
    ]
    return [*names, *([stage.settings.hold_parameter] if stage.settings.hold_parameter else [])]


def label(resource: Resource) -> str:
    """What a resource of the templates is to people."""
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
    """The template of what must exist before the functions do; it may be without any resource.

    ``previous`` is what the stack holds now, ``existing`` which of the stage's parameters, topic and subscribers are
    there, in the stack or outside it; ``initial`` the first values of *current* by parameter name. ``email`` None
    keeps the subscription as it is, "" takes it away.

    CloudFormation writes a parameter whenever its text in the template changes, whatever it holds by then.
    So what the stack holds is taken over to the letter, and what exists outside it is left alone.
    """
    held: Mapping[str, Resource] = (previous or {}).get("Resources", {})
    resources: dict[str, Resource] = {}
    for name, (value, description) in _wanted_parameters(stage, initial).items():
        properties = {"Name": name, "Type": "String", "Value": value, "Description": description}
        wanted = {"Type": "AWS::SSM::Parameter", **_RETAINED, "Properties": properties}
        one = _one(wanted, "Name", name, held, exists=name in existing)
        if name == stage.settings.pipeline_parameter:
            # Nothing moves it; what the stack holds follows the stage that is configured anew.
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
    """The same for those who deploy it themselves, who know neither what is there nor what has moved.

    First values and the address are parameters of the stack: an update keeps what was given once. All else of
    a stored parameter must be the same in every package, or CloudFormation would write its first value anew. Its
    logical names are not those of :func:`before`: an update of that one's stack fails, with nothing written.
    """
    parameters: dict[str, Any] = {}
    resources: dict[str, Resource] = {}
    current = {database.current_parameter for database in stage.settings.databases}
    for name, (value, _) in _wanted_parameters(stage, {}).items():
        first: Any = value
        if name in current:
            given = _logical("First", name)
            parameters[given] = {
                "Type": "String",
                "Default": PLACEHOLDER,
                "Description": f"First value of {name}, a snapshot's ARN. Leave it once the stack is there: "
                "another one is written, whatever the parameter holds by then",
            }
            first = {"Ref": given}
        resources[_logical("Packaged", name)] = {
            "Type": "AWS::SSM::Parameter",
            **_RETAINED,
            "Properties": {
                "Name": name,
                "Type": "String",
                "Value": first,
                "Description": f"{APP}; the stack knows its first value alone",
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
            "Description": "An address that is told through the topic; empty: none",
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
    """The e-mail address of the template's subscription; "" for none."""
    for resource in (template or {}).get("Resources", {}).values():
        if resource["Type"] == "AWS::SNS::Subscription":
            return str(resource["Properties"]["Endpoint"])
    return ""


def _wanted_parameters(stage: Stage, initial: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """First value and description of every parameter that must be there, by name."""
    settings = stage.settings
    wanted = {
        settings.pipeline_parameter: (
            stage.pipeline_arn.rsplit(":", 1)[1],
            "The main pipeline's name",
        )
    }
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
    """The resource under its logical name: as the stack holds it, as wanted, or not at all."""
    logical = _logical(wanted["Type"].rsplit("::")[-1], value)
    known = [
        (name, resource)
        for name, resource in held.items()
        if resource["Type"] == wanted["Type"] and resource["Properties"].get(key) == value
    ]
    if exists:
        return dict(known[:1])
    # What somebody has deleted behind the stack's back is made again only under another logical name.
    taken = [name for name, _ in known]
    return {f"{logical}Again" if logical in taken else logical: wanted}


def _logical(word: str, name: str) -> str:
    """A logical name, which is of letters and digits; two names may differ in others alone."""
    readable = re.sub("[^A-Za-z0-9]", "", name.title())[:100]
    distinct = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{word}{readable}{distinct}"


# --- after ----------------------------------------------------------------------------------------


def after(stage: Stage) -> Template:
    """The template of what watches over the functions."""
    resources = _alarms(stage)
    deployed = function_names(stage)
    for function, age in event_ages(stage).items():
        properties: dict[str, Any] = {
            "FunctionName": deployed[function],
            "Qualifier": "$LATEST",
            "MaximumRetryAttempts": RETRIES,
            "MaximumEventAgeInSeconds": int(age.total_seconds()),
        }
        if stage.settings.topic_arn:
            properties["DestinationConfig"] = {
                "OnFailure": {"Destination": stage.settings.topic_arn}
            }
        resources[_logical("Invocation", function)] = {
            "Type": "AWS::Lambda::EventInvokeConfig",
            "Properties": properties,
        }
    resources["Dashboard"] = {
        "Type": "AWS::CloudWatch::Dashboard",
        "Properties": {
            "DashboardName": dashboard_name(stage.name),
            "DashboardBody": json.dumps(_dashboard(stage), separators=(",", ":")),
        },
    }
    return _template(f"{APP}, stage {stage.name}: what watches over the functions", resources)


def left_out(stage: Stage) -> list[str]:
    """Which alarms the stage cannot have, each with the reason."""
    missing = []
    if not fires_weekly(stage.settings.restore_schedule, _start(stage)):
        missing.append(
            f"no alarm on an overdue refresh: {stage.settings.restore_schedule} does not fire in every "
            "7 days, and an alarm looks back no further"
        )
    if stage.settings.max_age is None:
        missing.append("no alarm on old data: MAX_SNAPSHOT_AGE_DAYS is 0, which is no limit")
    if stage.settings.topic_arn is None:
        missing.append(
            "nobody is told of an alarm: NOTIFICATION_TOPIC_ARN is not set; "
            f"make configure STAGE={stage.name} NOTIFICATION_TOPIC_ARN="
            f"arn:{stage.partition}:sns:{stage.region}:{stage.account}:{APP} sets one, "
            f"and make deploy STAGE={stage.name} makes it"
        )
    return missing


def event_ages(stage: Stage) -> dict[str, timedelta]:
    """How old an event may be when the function is invoked with it at last, by Chalice's name.

    A restore is wanted until the window closes, the newest snapshot until the restore reads it. Later, the
    restore would refuse by itself. It is the shortest such time of a year: clocks are changed.
    """
    settings, start = stage.settings, _start(stage)
    restores = settings.restore_schedule
    ages = {
        UPDATE: _shortest(_until_the_next(settings.update_schedule, restores, start)),
        RESTORE: _shortest(_until_the_window_closes(stage, start)),
        FOLLOW: _LONGEST,
    }
    if settings.has_copies:
        ages[COPIES] = _rate(Expression.parse(POLL))  # then the next one comes
    return ages


def fires_weekly(schedule: Expression, start: datetime) -> bool:
    """Whether there is no week of seven days, beginning anywhere, in which the schedule does not fire."""
    if schedule.is_rate:
        return _rate(schedule) <= _WEEK
    last = start
    for fire in (*_fires(schedule, start), start + _YEAR):
        if fire - last > _WEEK:
            return False
        last = fire
    return True


def _start(stage: Stage) -> datetime:
    """Where the year begins that is looked at.

    It is the first firing from the anchor on, so that a template does not depend on the clock.
    """
    anchor = datetime.combine(stage.settings.cadence.anchor, time(), UTC) - timedelta(minutes=1)
    return stage.settings.restore_schedule.next_after(anchor) or anchor


def _fires(schedule: Expression, start: datetime) -> Iterator[datetime]:
    """When it fires in the year from ``start`` on."""
    just_before = start - timedelta(minutes=1)
    return takewhile(lambda fire: fire < start + _YEAR, schedule.fires_after(just_before))


def _rate(schedule: Expression) -> timedelta:
    match = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", schedule.text)
    assert match is not None
    return timedelta(**{f"{match[2]}s": int(match[1])})


def _until_the_window_closes(stage: Stage, start: datetime) -> Iterator[timedelta]:
    """The time from each scheduled restore until the window closes, 6 hours at the most."""
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
    """The time from each firing of a schedule until the next one of another."""
    others = other.fires_after(start - timedelta(minutes=1))
    following = next(others, None)
    for fire in _fires(schedule, start):
        while following and following <= fire:
            following = next(others, None)
        if following is None:
            return
        yield following - fire


def _shortest(spans: Iterable[timedelta]) -> timedelta:
    """The shortest, in what Lambda takes; a rate has none, for nobody knows when it fires."""
    shortest = _LONGEST
    for span in spans:
        shortest = min(shortest, span)
        if shortest <= _SHORTEST:
            return _SHORTEST
    return shortest


def _alarms(stage: Stage) -> dict[str, Resource]:
    """The alarms by logical name."""
    settings, deployed = stage.settings, function_names(stage)
    alarms: dict[str, Resource] = {}

    def add(name: str, description: str, **properties: Any) -> None:
        alarm_name = f"{APP}-{stage.name}-{name}"
        told = {"AlarmActions": [settings.topic_arn]} if settings.topic_arn else {}
        alarms[_logical("Alarm", name)] = {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {
                "AlarmName": alarm_name,
                "AlarmDescription": description,
                **told,
                "EvaluationPeriods": 1,
                **properties,
            },
        }

    for function, name in deployed.items():
        add(
            f"errors-{function.replace('_', '-')}",
            f"{name} ended with an error; its log in CloudWatch tells which.",
            **_lambda("Errors", name, "Sum", 300),
            **_at_least_one,
            TreatMissingData="notBreaching",
        )
    if fires_weekly(settings.restore_schedule, _start(stage)):
        add(
            "refresh-overdue",
            f"{deployed[RESTORE]} was not invoked for 7 days: is its rule enabled? Of a new stage, this "
            "rings until its first night.",
            **_lambda("Invocations", deployed[RESTORE], "Sum", 86400),
            EvaluationPeriods=7,
            DatapointsToAlarm=7,
            ComparisonOperator="LessThanThreshold",
            Threshold=1,
            TreatMissingData="breaching",
        )
    every = range(0, len(settings.databases), _METRICS_IN_AN_ALARM)
    for number, first in enumerate(every, 1):
        databases = settings.databases[first : first + _METRICS_IN_AN_ALARM]
        more = f"-{number}" if number > 1 else ""
        add(
            f"refresh-failed{more}",
            "A refresh failed; the notification and GET /status tell why.",
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
                # There is one value a night; until the next one, the last one holds.
                TreatMissingData="ignore",
            )
    return alarms


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
    """An alarm's metric: the sum or the maximum over databases, in five minutes."""
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


def _dashboard(stage: Stage) -> dict[str, Any]:
    """The dashboard's body: the refreshes on the left, the functions on the right."""
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
