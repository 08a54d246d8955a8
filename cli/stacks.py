"""What `chalice deploy` does not make: pure functions of the stage.

*Before* the functions come their logs and the topic that they rely on, *after* them what monitors
them: alarms, settings of asynchronous invocations, a dashboard. These are the templates
infrastructure/monitoring-*.yaml. `aurora-refresh package` writes both as CloudFormation templates.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

from chalice.utils import to_cfn_resource_name

from chalicelib.domain.functions import API, APP, deployed_name
from chalicelib.domain.parameters import PLACEHOLDER
from chalicelib.domain.schedule import Expression
from chalicelib.settings.acceptance import Settings
from cli.policies import log_group, policies
from cli.stages import AcceptanceStage, Stage
from cli.templates import evaluated, parsed

BEFORE, AFTER = "before", "after"
LOG_DAYS = 90

Resource = dict[str, Any]
Template = dict[str, Any]

_INFRASTRUCTURE = Path(__file__).parents[1] / "infrastructure"
_YEAR = timedelta(days=366)
_ANY_SUNDAY = date(2026, 1, 4)
_WEEK = timedelta(days=7)  # an alarm looks back no further


# --- names ----------------------------------------------------------------------------------------


def function_names(stage: Stage) -> dict[str, str]:
    """Return Lambda's names of the functions that the stage deploys, by Chalice's names."""
    return {function: deployed_name(stage.name, function) for function in policies(stage)}


def role_name(stage_name: str, function: str) -> str:
    """Return Chalice's name of a function's role."""
    return f"{APP}-{stage_name}-{function}"


def rule_name(deployed: str) -> str:
    """Return Chalice's name of the rule that invokes a function, by Lambda's name of that."""
    return f"{deployed}-event"


def log_groups(stage: Stage) -> list[str]:
    """Return the log groups of the stage's functions."""
    return [log_group(deployed) for deployed in function_names(stage).values()]


def alarms(stage: Stage, *, whatever_it_has: bool = False) -> dict[str, Resource]:
    """Return the properties of the stage's alarms by name, or of those that any stage of this name may have."""
    resources = after(stage)["Resources"]
    if whatever_it_has:  # it may have been of the other kind
        resources = _monitoring(stage, "acceptance") | _monitoring(stage, "production")
    properties = (each["Properties"] for each in resources.values())
    return {each["AlarmName"]: each for each in properties if "AlarmName" in each}


def dashboard_name(stage_name: str) -> str:
    """Return the name of an acceptance stage's dashboard."""
    return f"{APP}-{stage_name}"


def packaged_stacks(stage_name: str) -> list[str]:
    """Return the stacks of a packaged stage, in the order of their creation."""
    functions = f"{APP}-{stage_name}"
    return [f"{functions}-{BEFORE}", functions, f"{functions}-{AFTER}"]


def deletions(stage_name: str) -> str:
    """Return the commands that delete the stacks of a packaged stage, in order."""
    return "\n".join(
        f"  aws cloudformation delete-stack --stack-name {each} && "
        f"aws cloudformation wait stack-delete-complete --stack-name {each}"
        for each in reversed(packaged_stacks(stage_name))
    )


def name_packaged(stage: Stage, template: Template) -> None:
    """Give functions and rules in the template of `chalice package` the names that `chalice deploy` gives.

    CloudFormation would invent other names, for which roles allow no logs and alarms do not exist.
    """
    for function, deployed in function_names(stage).items():
        logical = "APIHandler" if function == API else to_cfn_resource_name(function)
        properties = template["Resources"][logical]["Properties"]
        properties["FunctionName"] = deployed
        for event in properties.get("Events", {}).values():
            name = "Name"
            if event["Type"] == "CloudWatchEvent":
                # SAM has no name for it, but for EventBridgeRule, which is the same rule.
                # https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-property-function-eventbridgerule.html
                event["Type"], name = "EventBridgeRule", "RuleName"
            event["Properties"][name] = rule_name(deployed)
        if function == API:
            # Otherwise SAM makes another stage of the API, named Stage.
            # https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-api.html
            template["Resources"]["RestAPI"]["Properties"]["OpenApiVersion"] = "2.0"


def own_topic(stage: Stage) -> str | None:
    """Return the ARN of the topic if it belongs to the stage's account and Region."""
    arn = stage.settings.topic_arn
    return arn if arn and arn.split(":")[3:5] == [stage.region, stage.account] else None


# --- before ---------------------------------------------------------------------------------------


def parameters(stage: Stage) -> dict[str, str]:
    """Return the stage's parameters with their first values, unless *current* is given another."""
    if not isinstance(stage, AcceptanceStage):
        return {}
    first = dict.fromkeys(stage.settings.promotion_parameters, PLACEHOLDER)
    return first | {stage.settings.pipeline_parameter: stage.pipeline}


def packaged_before(stage: Stage) -> Template:
    """Return the template of what the functions rely on; it does not depend on what exists.

    It has no parameters of Parameter Store: CloudFormation writes a first value again whenever
    anything of its resource changes. Earlier versions deployed a stack of this name with other
    logical names: its update fails.
    """
    resources: dict[str, Resource] = {}
    given: dict[str, Resource] = {}
    description = f"{APP}, stage {stage.name}: what the functions rely on, packaged"
    template: Template = {"Description": description, "Parameters": given, "Resources": resources}
    for group in log_groups(stage):
        resources[_logical("Packaged", group)] = _retained(
            "AWS::Logs::LogGroup", LogGroupName=group, RetentionInDays=LOG_DAYS
        )
    if topic := own_topic(stage):
        made = _logical("Packaged", topic)
        resources[made] = _retained("AWS::SNS::Topic", TopicName=topic.rsplit(":", 1)[1])
        given["Email"] = {
            "Type": "String",
            "Default": "",
            "Description": "E-mail address that receives the topic's notifications; empty: none",
        }
        template["Conditions"] = {"HasEmail": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Email"}, ""]}]}}
        subscribed = {"TopicArn": {"Ref": made}, "Protocol": "email", "Endpoint": {"Ref": "Email"}}
        resources["PackagedEmail"] = {
            "Type": "AWS::SNS::Subscription",
            "Condition": "HasEmail",
            "Properties": subscribed,
        }
    return template


def _retained(kind: str, **properties: Any) -> Resource:
    """Return a resource that outlives its stack."""
    policies = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
    return {"Type": kind, **policies, "Properties": properties}


def _logical(word: str, name: str) -> str:
    """Return a logical name: letters and digits, and a hash of the other characters."""
    readable = re.sub("[^A-Za-z0-9]", "", name.title())[:100]
    distinct = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{word}{readable}{distinct}"


# --- after ----------------------------------------------------------------------------------------


def after(stage: Stage) -> Template:
    """Return the template of what monitors the functions, with its parameters filled in."""
    values = {
        "Topic": stage.settings.topic_arn or "",
        "Notifies": str(any((stage.settings.topic_arn, stage.settings.chat_topic_arn))).lower(),
    }
    settings = stage.settings
    if isinstance(settings, Settings):
        kind, anchor = "acceptance", settings.cadence.anchor
        values |= {
            "HasApi": str(settings.pin_api_enabled).lower(),
            "FiresWeekly": str(fires_weekly(settings.restore_schedule, anchor)).lower(),
            "UpdatesWeekly": str(fires_weekly(settings.update_schedule, anchor)).lower(),
        }
    else:
        kind = "production"
        values["FiresWeekly"] = str(fires_weekly(settings.schedule, _ANY_SUNDAY)).lower()
    description = f"{APP}, stage {stage.name}: monitoring of the functions"
    return {"Description": description, "Resources": _monitoring(stage, kind, values)}


def _monitoring(stage: Stage, kind: str, values: Mapping[str, str] = {}) -> dict[str, Resource]:
    """Return what monitors a kind of stage; without values, whatever such a stage may have."""
    known = {"Stage": stage.name, "AWS::Region": stage.region, **values}
    return {
        logical: {key: value for key, value in resource.items() if key != "Condition"}
        for logical, resource in evaluated(_template(kind), known)["Resources"].items()
    }


@cache
def _template(kind: str) -> Template:
    """Read the template of what monitors a kind of stage."""
    file = _INFRASTRUCTURE / f"monitoring-{kind}.yaml"
    return parsed(file.read_text(encoding="utf-8"))


def proposed_topic(stage: Stage) -> str:
    """Return the ARN of a topic that `aurora-refresh deploy` could create."""
    return f"arn:{stage.partition}:sns:{stage.region}:{stage.account}:{APP}"


def fires_weekly(expression: Expression, anchor: date) -> bool:
    """Return whether a function's rule fires in every period of seven days of a year.

    The year begins with the anchor, so that templates do not depend on the clock.
    """
    # In a time zone, the local time may come an hour more than seven days later.
    schedule = expression.utc
    if schedule.is_rate:
        number, unit = schedule.text.removeprefix("rate(").removesuffix(")").split()
        return timedelta(**{f"{unit.removesuffix('s')}s": int(number)}) <= _WEEK
    before = datetime.combine(anchor, time(), UTC) - timedelta(minutes=1)
    start = next(schedule.fires_after(before), before)
    end = start + _YEAR
    fires = takewhile(lambda fire: fire < end, schedule.fires_after(start))
    return all(later - fire <= _WEEK for fire, later in pairwise((start, *fires, end)))
