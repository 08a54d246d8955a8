"""How the main pipeline's template reads *current*. Pure. docs/main-pipeline.md explains the faults."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

CLUSTERS = ("AWS::RDS::DBCluster", "AWS::DocDB::DBCluster", "AWS::Neptune::DBCluster")
INSTANCES = ("AWS::RDS::DBInstance", "AWS::DocDB::DBInstance", "AWS::Neptune::DBInstance")
READS_AT_EVERY_UPDATE = "AWS::SSM::Parameter::Value<String>"

_DYNAMIC = re.compile(r"\{\{resolve:ssm:([^:}]+)(?::[^}]*)?\}\}")


@dataclass(frozen=True, slots=True)
class Reading:
    """Where a cluster's snapshot comes from.

    `parameter` is the stored parameter that CloudFormation reads at every update. If it is None,
    `wrong` says what the template does instead; it is empty if that is unknown.
    """

    cluster: str
    parameter: str | None
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """What makes refreshes fail (`fails`) or have a side effect although *current* is read correctly."""

    cluster: str
    fails: bool
    what: str
    fix: str


def readings(template: Json, given: Mapping[str, str]) -> Iterator[Reading]:
    """Yield the reading of each restored cluster; `given` has the template's parameter values."""
    declared = template.get("Parameters", {})
    for name, body in _resources(template, CLUSTERS):
        properties = body.get("Properties", {})
        if "SnapshotIdentifier" not in properties:
            continue
        for value in _branches(properties["SnapshotIdentifier"]):
            yield _reading(name, value, declared, given)


def faults(template: Json, cluster: str) -> Iterator[Fault]:
    """Yield the faults of a restored cluster."""
    body = template["Resources"][cluster]
    properties = body.get("Properties", {})
    fixed = [(cluster, "DBClusterIdentifier", properties)]
    fixed += [
        (name, "DBInstanceIdentifier", each["Properties"])
        for name, each in _resources(template, INSTANCES)
        if each.get("Properties", {}).get("DBClusterIdentifier") == {"Ref": cluster}
    ]
    for name, identifier, given in fixed:
        if identifier in given:
            yield Fault(
                cluster,
                fails=True,
                what=f"{name} has a {identifier}, which the old one still has when the new one is created: "
                "every refresh fails",
                fix=f"remove {identifier} from {name} in the template; this replaces it, so do it in a "
                "refresh's night",
            )
    if "EngineVersion" not in properties:
        yield Fault(
            cluster,
            fails=False,
            what=f"{cluster} has no EngineVersion: the Region's default is used, and a restore fails if that "
            "is older than the snapshot's",
            fix=f"give {cluster} production's exact EngineVersion",
        )
    if "KmsKeyId" not in properties:
        yield Fault(
            cluster,
            fails=False,
            what=f"{cluster} has no KmsKeyId: acceptance's data stays under production's key, and is lost with "
            "that key's grant",
            fix=f"give {cluster} the KmsKeyId of acceptance's own key; this replaces it, so do it in a "
            "refresh's night",
        )
    if "MasterUsername" in properties:
        yield Fault(
            cluster,
            fails=False,
            what=f"{cluster} has a MasterUsername besides its SnapshotIdentifier: if the latter is removed, an empty "
            "cluster replaces the data, whereas the update would fail without MasterUsername",
            fix=f"remove MasterUsername from {cluster}: the snapshot has it",
        )
    if _is_true(properties.get("DeletionProtection")):
        yield Fault(
            cluster,
            fails=False,
            what=f"{cluster} has DeletionProtection: each refresh keeps the old cluster, and its costs",
            fix=f"write DeletionProtection: false for {cluster}, and protect the stack instead: "
            "aws cloudformation update-termination-protection --enable-termination-protection",
        )
    if body.get("UpdateReplacePolicy", "Delete") != "Delete":
        yield Fault(
            cluster,
            fails=False,
            what=f"{cluster} has UpdateReplacePolicy {body['UpdateReplacePolicy']}: each refresh leaves one "
            "more snapshot or cluster behind, until the quota is used up",
            fix=f"write UpdateReplacePolicy: Delete for {cluster}",
        )
    if body["Type"] == CLUSTERS[0] and not _is_true(properties.get("ManageMasterUserPassword")):
        yield Fault(
            cluster,
            fails=False,
            what=f"{cluster} does not set ManageMasterUserPassword: acceptance's database "
            "keeps production's password",
            fix=f"write ManageMasterUserPassword: true for {cluster}",
        )


def _resources(template: Json, types: Sequence[str]) -> Iterator[tuple[str, Json]]:
    for name, body in template.get("Resources", {}).items():
        if isinstance(body, dict) and body.get("Type") in types:
            yield name, body


def _branches(value: Any) -> Iterator[Any]:
    """Yield the values that a property may have, without AWS::NoValue."""
    if isinstance(value, dict) and isinstance(value.get("Fn::If"), list):
        for branch in value["Fn::If"][1:]:
            yield from _branches(branch)
    elif value != {"Ref": "AWS::NoValue"}:
        yield value


def _reading(cluster: str, value: Any, declared: Json, given: Mapping[str, str]) -> Reading:
    whole = value
    if (
        isinstance(value, dict)
        and value.keys() == {"Fn::Sub"}
        and isinstance(value["Fn::Sub"], str)
    ):
        whole = value["Fn::Sub"]
        if match := re.fullmatch(r"\$\{(\w+)\}", whole):
            value = {"Ref": match[1]}
    if isinstance(whole, str) and (match := _DYNAMIC.search(whole)):
        return Reading(
            cluster,
            None,
            f"reads {match[1]} as {{{{resolve:ssm:…}}}}, which CloudFormation compares as text: "
            "it is never restored again",
        )
    if isinstance(value, str):
        return Reading(
            cluster, None, "has a constant snapshot in the template: it is never restored again"
        )
    name = value.get("Ref") if isinstance(value, dict) and value.keys() == {"Ref"} else None
    parameter = declared.get(str(name))
    if not isinstance(parameter, dict):
        return Reading(cluster, None)
    held = given.get(str(name), str(parameter.get("Default", "")))
    if parameter["Type"] == READS_AT_EVERY_UPDATE:
        return Reading(cluster, held)
    return Reading(
        cluster,
        None,
        f"takes its snapshot from the template's parameter {name} of type {parameter['Type']}, which is "
        "the text itself, not the value in Parameter Store",
    )


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"
