"""What the main pipeline deploys and where, and how its template reads *current*. Pure."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from chalicelib.domain.deployment import StackReference
from chalicelib.domain.results import Json
from chalicelib.domain.snapshots import SnapshotArn
from cli import templates
from cli.stages import AcceptanceStage

CLUSTERS = ("AWS::RDS::DBCluster", "AWS::DocDB::DBCluster", "AWS::Neptune::DBCluster")
READS_AT_EVERY_UPDATE = "AWS::SSM::Parameter::Value<String>"


class Reading(NamedTuple):
    """Where a cluster's snapshot comes from; `place` is STACK or STACK/LOGICAL-ID of the cluster.

    `parameter` is the stored parameter that CloudFormation reads at every update. If it is None,
    `wrong` says what the template does instead; it is empty if that is unknown.
    """

    place: str
    stack: str
    cluster: str
    parameter: str | None
    wrong: str = ""

    def __str__(self) -> str:
        return f"{self.cluster} of stack {self.stack}"

    def is_in(self, named: StackReference) -> bool:
        """Return whether a P_STACK_NAME names the cluster."""
        return named.stack == self.stack and named.logical_id in (None, self.cluster)


class DeployedStack(NamedTuple):
    """A stack that the main pipeline deploys, or that P_STACK_NAME names.

    `elsewhere` says where it is if not in the stage's account and Region, so that it cannot be read.
    """

    name: str
    in_pipeline: bool = False
    elsewhere: str = ""


def stacks_of(stage: AcceptanceStage, pipeline: Json | None) -> list[DeployedStack]:
    """Return the stacks that the pipeline deploys, and those of P_STACK_NAME."""
    found: dict[str, DeployedStack] = {}
    actions = (each for part in (pipeline or {"stages": []})["stages"] for each in part["actions"])
    for action in actions:
        if (name := stack_of(action)) is None:
            continue
        unknown = "under a name that only the run knows" if "#{" in name else ""
        place = elsewhere(stage, action) or unknown
        # A pipeline may deploy a stack of the same name in several Regions.
        if name not in found or (found[name].elsewhere and not place):
            found[name] = DeployedStack(name, True, place)
    for database in stage.settings.databases:
        if database.stack:
            found.setdefault(database.stack.stack, DeployedStack(database.stack.stack))
    return [*found.values()]


def stack_of(action: Json) -> str | None:
    """Return the stack, or the stack set, that an action of CloudFormation deploys."""
    given, kind = action.get("configuration", {}), action["actionTypeId"]
    is_deploy = kind["category"] == "Deploy" and kind["provider"].startswith("CloudFormation")
    name: str | None = given.get("StackName", given.get("StackSetName"))
    # Somebody else executes a change set that no action executes.
    deploys = given.get("ActionMode") not in ("DELETE_ONLY", "CHANGE_SET_REPLACE")
    return name if is_deploy and deploys else None


def may_deploy(pipeline: Json, place: DeployedStack) -> bool:
    """Return whether a pipeline deploys a stack here, or may do so in an action that does not name its stack."""
    actions = (each for part in pipeline["stages"] for each in part["actions"])
    return (place.in_pipeline and not place.elsewhere) or any(map(_names_no_stack, actions))


def _names_no_stack(action: Json) -> bool:
    """Return whether an action may deploy a stack that it does not name, such as in a build or a stack set."""
    category, provider = (action["actionTypeId"][each] for each in ("category", "provider"))
    is_stack = category == "Deploy" and provider == "CloudFormation"
    is_unnamed = "#{" in action.get("configuration", {}).get("StackName", "")
    return is_unnamed if is_stack else category not in ("Source", "Approval")


def elsewhere(stage: AcceptanceStage, action: Json) -> str:
    """Return where an action acts; "" if that is the stage's account and Region."""
    if "StackSetName" in action.get("configuration", {}):
        return "as instances of a stack set"
    # The role that CodePipeline assumes for the action is in the stack's account.
    account = action["roleArn"].split(":")[4] if "roleArn" in action else stage.account
    region = action.get("region", stage.region)
    is_here = (account, region) == (stage.account, stage.region)
    return "" if is_here else f"in account {account}, {region}"


def resources(template: Json, types: Sequence[str]) -> dict[str, Json]:
    """Return the resources of some types by their logical ids."""
    found = template.get("Resources", {}).items()
    return {name: each for name, each in found if each["Type"] in types}


def readings(stack: str, template: Json) -> Iterator[Reading]:
    """Yield the reading of each cluster that is restored from a snapshot, by the evaluated template."""
    clusters = resources(template, CLUSTERS)
    for name, body in clusters.items():
        values = branches(body.get("Properties", {}).get("SnapshotIdentifier", templates.NO_VALUE))
        sources = {_source(each, template) for each in values if each != templates.NO_VALUE}
        if sources:
            place = stack if len(clusters) == 1 else f"{stack}/{name}"
            # If there are several, an unknown condition decides.
            source = sources.pop() if len(sources) == 1 else (None, "")
            yield Reading(place, stack, name, *source)


def branches(value: Any) -> Iterator[Any]:
    """Yield the values that a property may have if its condition is unknown."""
    if isinstance(value, dict) and isinstance(value.get("Fn::If"), list):
        for branch in value["Fn::If"][1:]:
            yield from branches(branch)
    else:
        yield value


def _source(value: Any, template: Json) -> tuple[str | None, str]:
    """Return the parameter that a cluster's snapshot is read from, or what the template does instead."""
    if "{{resolve:ssm:" in json.dumps(value, default=str):
        compared = "CloudFormation compares that as text, so it is never restored again"
        return None, f"reads its snapshot as {{{{resolve:ssm:…}}}}: {compared}"
    if isinstance(value, str):
        return None, "has a constant snapshot in the template: it is never restored again"
    name = value.get("Ref", "") if isinstance(value, dict) else ""
    parameter = template.get("Parameters", {}).get(name)
    if not isinstance(parameter, dict) or parameter.get("NoEcho"):
        return None, ""
    given = str(parameter.get("Default", ""))
    if parameter["Type"] == READS_AT_EVERY_UPDATE:
        return given, ""
    if SnapshotArn.parse(given):
        return None, ""  # somebody may have given it after reading *current*
    kind = f"the template's parameter {name} of type {parameter['Type']}"
    text = "which is the text itself, not the value in Parameter Store"
    return None, f"takes its snapshot from {kind}, {text}"
