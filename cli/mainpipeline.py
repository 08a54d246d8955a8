"""What the main pipeline deploys and where, what delays it, and how its template reads *current*.

Pure. docs/main-pipeline.md explains the faults.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cli import templates
from cli.stages import AcceptanceStage, Json

CLUSTERS = ("AWS::RDS::DBCluster", "AWS::DocDB::DBCluster", "AWS::Neptune::DBCluster")
INSTANCES = ("AWS::RDS::DBInstance", "AWS::DocDB::DBInstance", "AWS::Neptune::DBInstance")
READS_AT_EVERY_UPDATE = "AWS::SSM::Parameter::Value<String>"

_DYNAMIC = re.compile(r"\{\{resolve:ssm:([^:}]+)(?::[^}]*)?\}\}")


class Reading(NamedTuple):
    """Where a cluster's snapshot comes from.

    `parameter` is the stored parameter that CloudFormation reads at every update. If it is None,
    `wrong` says what the template does instead; it is empty if that is unknown.
    """

    cluster: str
    parameter: str | None
    wrong: str = ""


class DeployedStack(NamedTuple):
    """A stack that the main pipeline deploys, or that P_STACK_NAME names.

    `elsewhere` says where it is if that is not the stage's account and Region, where nothing is seen.
    """

    name: str
    mode: str = ""
    elsewhere: str = ""


class Obstacle(NamedTuple):
    """What keeps a run from restoring at once, or lets it restore nothing or twice."""

    stage: str
    what: str
    fix: str


class Fault(NamedTuple):
    """What makes refreshes fail (`fails`) or have a side effect although *current* is read correctly."""

    fails: bool
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class StackTemplate:
    """A stack's template as the values of its parameters evaluate it."""

    body: Json
    values: Mapping[str, str]

    @classmethod
    def read(cls, body: str | Json, described: Json) -> "StackTemplate":
        """Return the template of GetTemplate with the values of DescribeStacks; raise StageError."""
        parameters = described.get("Parameters", [])
        return cls.of(
            templates.parsed(body),
            {each["ParameterKey"]: each["ParameterValue"] for each in parameters},
        )

    @classmethod
    def of(cls, body: Json, values: Mapping[str, str]) -> "StackTemplate":
        """Evaluate a template."""
        return cls(templates.evaluated(body, values), values)

    def resources(self, types: Sequence[str]) -> dict[str, Json]:
        """Return the resources of some types by their logical ids."""
        found = self.body.get("Resources", {}).items()
        return {
            name: each
            for name, each in found
            if isinstance(each, dict) and each.get("Type") in types
        }


def stacks_of(stage: AcceptanceStage, pipeline: Json | None) -> list[DeployedStack]:
    """Return the stacks that the pipeline deploys, and those of P_STACK_NAME."""
    found: dict[str, DeployedStack] = {}
    for action in _actions(pipeline or {"stages": []}):
        given, kind = action.get("configuration", {}), action["actionTypeId"]
        is_deploy = (kind["category"], kind["provider"]) == ("Deploy", "CloudFormation")
        if not is_deploy or "StackName" not in given:
            continue
        name, place = given["StackName"], _elsewhere(stage, action)
        # A pipeline may deploy a stack of the same name in several Regions.
        if name not in found or (found[name].elsewhere and not place):
            found[name] = DeployedStack(name, given.get("ActionMode", ""), place)
    for database in stage.settings.databases:
        if database.stack:
            found.setdefault(database.stack.stack, DeployedStack(database.stack.stack))
    return [*found.values()]


def deploys(pipeline: Json, stack: str) -> bool:
    """Return whether an action of the pipeline names the stack."""
    return any(
        action.get("configuration", {}).get("StackName") == stack for action in _actions(pipeline)
    )


def _actions(pipeline: Json) -> Iterator[Json]:
    for stage in pipeline["stages"]:
        yield from stage["actions"]


def _elsewhere(stage: AcceptanceStage, action: Json) -> str:
    """Return where an action deploys; "" if that is the stage's account and Region."""
    # The role that CodePipeline assumes for the action is in the stack's account.
    account = action["roleArn"].split(":")[4] if "roleArn" in action else stage.account
    region = action.get("region", stage.region)
    if (account, region) != (stage.account, stage.region):
        return f"in account {account}, {region}"
    is_variable = "#{" in action["configuration"]["StackName"]
    return "under a name that only the run knows" if is_variable else ""


def obstacles(
    pipeline: Json, name: str, stacks: Collection[str], states: Sequence[Json]
) -> Iterator[Obstacle]:
    """Yield what is in front of the stages that deploy the stacks, and what is in those stages.

    Without `stacks` it is every stage with a deploy action; without such an action any stage may
    deploy. `states` are the stages of GetPipelineState.
    """
    inbound = {each["stageName"]: each.get("inboundTransitionState", {}) for each in states}
    orders = [_deploys_at(stage, stacks) for stage in pipeline["stages"]]
    deploying = [number for number, order in enumerate(orders) if order]
    last = max(deploying, default=len(orders) - 1)
    for number, stage in enumerate(pipeline["stages"][: last + 1]):
        own, order = stage["name"], orders[number]
        transition = inbound.get(own, {})
        if not transition.get("enabled", True):
            reason = transition.get("disabledReason", "no reason given")
            yield Obstacle(
                own,
                f"the transition into it is disabled ({reason}): the run of a refresh waits there, and "
                "restores whenever somebody enables it",
                f"aws codepipeline enable-stage-transition --pipeline-name {name} --stage-name {own} "
                "--transition-type Inbound",
            )
        for action in stage["actions"]:
            is_in_front = number < last or action.get("runOrder", 1) < (order or 0)
            if action["actionTypeId"]["category"] == "Approval" and is_in_front:
                yield Obstacle(
                    own,
                    f"its action {action['name']} waits for an approval before the database is deployed: a "
                    "refresh restores when somebody approves, also at noon",
                    f"move {action['name']} behind the action that deploys the database, or see that it is "
                    "approved within the maintenance window",
                )
        if "SKIP" in _results(stage, "beforeEntry", "onFailure"):
            yield Obstacle(
                own,
                "a condition may skip it: a run then succeeds without restoring, and the refresh is reported as "
                "nothing-restored",
                f"give the conditions of stage {own} the result FAIL",
            )
        if order and "ROLLBACK" in _results(stage, "onFailure", "onSuccess"):
            yield Obstacle(
                own,
                "it rolls back automatically: the roll-back deploys an older template but reads current again, so "
                "it may restore what has just failed",
                f"remove the result ROLLBACK from stage {own}",
            )


def _deploys_at(stage: Json, stacks: Collection[str]) -> int | None:
    """Return the last position at which a stage deploys one of the stacks; None if it deploys none."""
    return max(
        (
            action.get("runOrder", 1)
            for action in stage["actions"]
            if action["actionTypeId"]["category"] == "Deploy"
            and (not stacks or action.get("configuration", {}).get("StackName") in stacks)
        ),
        default=None,
    )


def _results(stage: Json, *whens: str) -> set[str]:
    """Return the results that a stage's conditions may have."""
    declared = [stage.get(when, {}) for when in whens]
    conditions = [each for when in declared for each in when.get("conditions", [])]
    return {each.get("result", "") for each in [*declared, *conditions]}


def readings(template: StackTemplate) -> Iterator[Reading]:
    """Yield the reading of each restored cluster."""
    for name, body in template.resources(CLUSTERS).items():
        properties = body.get("Properties", {})
        if "SnapshotIdentifier" in properties:
            for value in _branches(properties["SnapshotIdentifier"]):
                yield Reading(name, *_source(value, template))


def places(stack: str, template: StackTemplate) -> Iterator[tuple[str, str]]:
    """Yield each parameter from which a cluster is restored, and STACK or STACK/LOGICAL-ID of it."""
    is_only = len(template.resources(CLUSTERS)) == 1
    for reading in readings(template):
        if reading.parameter:
            yield reading.parameter, stack if is_only else f"{stack}/{reading.cluster}"


def _branches(value: Any) -> Iterator[Any]:
    """Yield the values that a property may have if its condition cannot be told, without AWS::NoValue."""
    if isinstance(value, dict) and isinstance(value.get("Fn::If"), list):
        for branch in value["Fn::If"][1:]:
            yield from _branches(branch)
    elif value != {"Ref": "AWS::NoValue"}:
        yield value


def _source(value: Any, template: StackTemplate) -> tuple[str | None, str]:
    """Return the parameter that a cluster's snapshot is read from, or what the template does instead."""
    if "{{resolve:ssm:" in json.dumps(value, default=str):
        match = _DYNAMIC.search(value) if isinstance(value, str) else None
        read = match[1] if match else "a parameter"
        compared = "which CloudFormation compares as text: it is never restored again"
        return None, f"reads {read} as {{{{resolve:ssm:…}}}}, {compared}"
    if isinstance(value, str):
        return None, "has a constant snapshot in the template: it is never restored again"
    name = str(value["Ref"]) if isinstance(value, dict) and value.keys() == {"Ref"} else ""
    parameter = template.body.get("Parameters", {}).get(name)
    if not isinstance(parameter, dict):
        return None, ""
    if parameter["Type"] == READS_AT_EVERY_UPDATE:
        return template.values.get(name, str(parameter.get("Default", ""))), ""
    kind = f"the template's parameter {name} of type {parameter['Type']}"
    text = "which is the text itself, not the value in Parameter Store"
    return None, f"takes its snapshot from {kind}, {text}"


def faults(template: StackTemplate, cluster: str) -> Iterator[Fault]:
    """Yield the faults of a restored cluster; what cannot be told is none."""
    body = template.resources(CLUSTERS)[cluster]
    properties = body.get("Properties", {})
    fixed = [(cluster, "DBClusterIdentifier", properties)]
    fixed += [
        (name, "DBInstanceIdentifier", each["Properties"])
        for name, each in template.resources(INSTANCES).items()
        if each.get("Properties", {}).get("DBClusterIdentifier") == {"Ref": cluster}
    ]
    protect = "aws cloudformation update-termination-protection --enable-termination-protection"
    a_night = "this replaces it, so do it in a refresh's night"
    for name, identifier, declared in fixed:
        if _is_given(declared, identifier):
            yield Fault(
                True,
                f"{name} has a {identifier}, which the old one still has when the new one is created: "
                "every refresh fails",
                f"remove {identifier} from {name} in the template; {a_night}",
            )
    policy = body.get("UpdateReplacePolicy", "Delete")
    managed = properties.get("ManageMasterUserPassword")
    side_effects = {
        "has no EngineVersion: the Region's default is used, and a restore fails if that is older than the "
        "snapshot's": (
            "EngineVersion" not in properties,
            f"give {cluster} production's exact EngineVersion",
        ),
        "has no KmsKeyId: acceptance's data stays under production's key, and is lost with that key's "
        "grant": (
            "KmsKeyId" not in properties,
            f"give {cluster} the KmsKeyId of acceptance's own key; {a_night}",
        ),
        "has a MasterUsername besides its SnapshotIdentifier: if the latter is removed, an empty cluster "
        "replaces the data, whereas the update would fail without MasterUsername": (
            _is_given(properties, "MasterUsername"),
            f"remove MasterUsername from {cluster}: the snapshot has it",
        ),
        "has DeletionProtection: each refresh keeps the old cluster, and its costs": (
            _is_true(properties.get("DeletionProtection")),
            f"write DeletionProtection: false for {cluster}, and protect the stack instead: {protect}",
        ),
        f"has UpdateReplacePolicy {policy}: each refresh leaves one more snapshot or cluster behind, until "
        "the quota is used up": (
            policy != "Delete",
            f"write UpdateReplacePolicy: Delete for {cluster}",
        ),
        "does not set ManageMasterUserPassword: acceptance's database keeps production's password": (
            body["Type"] == CLUSTERS[0] and not (_is_true(managed) or isinstance(managed, dict)),
            f"write ManageMasterUserPassword: true for {cluster}",
        ),
    }
    for what, (is_there, fix) in side_effects.items():
        if is_there:
            yield Fault(False, f"{cluster} {what}", fix)


def _is_given(properties: Json, name: str) -> bool:
    """Return whether a property is there; a condition that cannot be told may leave it out."""
    value = properties.get(name)
    return name in properties and not (isinstance(value, dict) and "Fn::If" in value)


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"
