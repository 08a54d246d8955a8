"""Check how the main pipeline's templates read *current*, and what makes refreshes fail or cost money.

docs/main-pipeline.md explains the faults.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chalicelib.domain.database import Database
from chalicelib.domain.results import Json
from chalicelib.domain.snapshots import Snapshot
from cli import mainpipeline
from cli.doctor.checks import Check, Verdict, check, ok, problem, warning
from cli.look import AcceptanceLook, known
from cli.mainpipeline import Reading
from cli.stages import to_change
from cli.templates import NO_VALUE

_BY_HAND = "compare its template with docs/main-pipeline.md"
_INSTANCES = ("AWS::RDS::DBInstance", "AWS::DocDB::DBInstance", "AWS::Neptune::DBInstance")
_REPLACES = "; this is a replacement, so do it on the night of a refresh"
# What is wrong with a property of a restored cluster.
_SIDE_EFFECTS = {
    "EngineVersion": "is missing: the Region's default is used, which may be older than the snapshot's",
    "KmsKeyId": "is missing: acceptance's data stays under the snapshot's key, which is production's unless you have copies",
    "DeletionProtection": "is on: each refresh leaves the old cluster behind, still billed",
    "UpdateReplacePolicy": "is not Delete: each refresh leaves one more snapshot or cluster behind",
    "ManageMasterUserPassword": "is not on: acceptance's database keeps production's password",
}


def reading(look: AcceptanceLook) -> Iterator[Check]:
    """Check how the pipeline's stacks read *current*, as far as that can be seen."""
    if look.structure is None:
        return  # reported already
    for database in look.stage.settings.databases:
        yield from _reads(database.current_parameter, look, database)
    for stack in look.stacks():
        if template := known(look.template, stack):
            yield from _faults(stack.name, look, template)


@check("template")
def _reads(current: str, look: AcceptanceLook, database: Database) -> Iterator[Verdict]:
    """Judge the cluster that P_STACK_NAME names; without it, any that the pipeline deploys.

    A named stack that is not seen is reported with what is deployed.
    """
    own, databases = database.stack, look.stage.settings.databases
    others = {each.current_parameter for each in databases if each != database}
    named = [each.stack for each in databases if each.stack]

    def may_be_its_own(each: Reading) -> bool:
        if own:
            return each.is_in(own)
        return each.parameter not in others and not any(map(each.is_in, named))

    stacks = [each for each in look.stacks() if own is None or each.name == own.stack]
    found = [each for stack in stacks for each in look.readings(stack) if may_be_its_own(each)]
    if right := [str(each) for each in found if each.parameter == current]:
        yield ok(f"is read at every update by {', '.join(right)}")
        return
    yield from (_misread(look, database, each) for each in found)
    unseen = [stack for stack in stacks if look.template(stack) is None]
    if own and not found and not unseen:
        missing = f"no cluster of stack {own} has a SnapshotIdentifier: it is never restored"
        yield problem(missing, _read_rightly(look, database))
    elif not own and not found:
        seen = "nothing was found that reads it: only CloudFormation templates are checked"
        away = next((each for each in unseen if each.elsewhere), None)
        if away:
            seen = (
                f"{seen}; stack {away.name} is not seen: the pipeline deploys it {away.elsewhere}"
            )
        yield warning(seen, _BY_HAND, blind=bool(away))


def _misread(look: AcceptanceLook, database: Database, each: Reading) -> Verdict:
    """Judge a cluster that does not read *current*."""
    fix = _read_rightly(look, database)
    if each.wrong:
        return problem(f"{each} {each.wrong}", fix)
    if each.parameter is None:
        return warning(f"the source of {each}'s snapshot is not seen", fix, blind=True)
    if each.parameter == database.latest_parameter:
        effect = "the next ordinary run would restore by accident"
        return problem(f"{each} reads {each.parameter}, which is latest: {effect}", fix)
    setting = f"SSM_{database.name.upper()}_CURRENT_SNAPSHOT_NAME={each.parameter}"
    named = f"if that is the database's parameter, {to_change(look.stage.name, setting)}"
    return problem(f"{each} reads {each.parameter} instead", f"{named}; otherwise {fix}")


def _read_rightly(look: AcceptanceLook, database: Database) -> str:
    if place := look.other_place(database):
        answer = f"{database.setting('STACK_NAME')}={place}"
        return f"name the cluster that reads it: {to_change(look.stage.name, answer)}"
    return (
        f"give the template a parameter of Type: {mainpipeline.READS_AT_EVERY_UPDATE} with Default: "
        f"{database.current_parameter}, and write SnapshotIdentifier: !Ref for it, as "
        f"infrastructure/main-pipeline.yaml does{_REPLACES}"
    )


@check("template")
def _faults(stack: str, look: AcceptanceLook, template: Json) -> Iterator[Verdict]:
    """Judge the clusters that are restored from a *current* of the stage."""
    databases = {each.current_parameter: each for each in look.stage.settings.databases}
    clusters = mainpipeline.resources(template, mainpipeline.CLUSTERS)
    for each in mainpipeline.readings(stack, template):
        if database := databases.get(each.parameter or ""):
            body = clusters[each.cluster]
            replaced = {each.cluster: body} | {
                name: instance
                for name, instance in mainpipeline.resources(template, _INSTANCES).items()
                if instance.get("Properties", {}).get("DBClusterIdentifier")
                == {"Ref": each.cluster}
            }
            yield from _fixed_names(replaced, _references(each.cluster, body))
            yield from _side_effects(each.cluster, body)
            if database.criteria.engine.startswith("aurora"):
                newest = known(look.newest, database)
                yield from _old_version(each.cluster, body["Properties"], newest)
            yield from _exports(template, [*replaced])


def _references(cluster: str, body: Json) -> re.Pattern[str]:
    """Match a value that is new at each refresh: it refers to the cluster, or to the snapshot's parameter."""
    snapshot = re.findall(r'"Ref": "(\w+)"', json.dumps(body["Properties"]["SnapshotIdentifier"]))
    return re.compile(rf'["{{]({"|".join([cluster, *snapshot])})["}}.]')


def _fixed_names(replaced: Mapping[str, Json], is_new: re.Pattern[str]) -> Iterator[Verdict]:
    """Yield each name that would be the same at the next refresh, or may be."""
    for name, body in replaced.items():
        is_instance = body["Type"] in _INSTANCES
        identifier = "DBInstanceIdentifier" if is_instance else "DBClusterIdentifier"
        values = [*mainpipeline.branches(body["Properties"].get(identifier, NO_VALUE))]
        unseen = [x for x in values if x != NO_VALUE and not is_new.search(json.dumps(x))]
        remove = f"remove {identifier} from {name} in the template{_REPLACES}"
        if all(isinstance(each, str) for each in values):
            yield problem(
                f"{name} has a {identifier}, which the old one still has when the new one is created: "
                "every refresh fails",
                remove,
            )
        elif unseen:
            seen = f"whether {identifier} of {name} changes at each refresh is not seen"
            yield warning(f"{seen}; if it does not, every refresh fails", remove, blind=True)


def _side_effects(cluster: str, body: Json) -> Iterator[Verdict]:
    """Yield the side effects of each refresh; what cannot be determined is no fault."""
    properties = body["Properties"]
    managed = properties.get("ManageMasterUserPassword", False)
    is_managed = isinstance(managed, dict) or _is_true(managed)
    # Beside MasterUserPassword, RDS refuses ManageMasterUserPassword.
    has_own = "MasterUserPassword" in properties or "Neptune" in body["Type"]  # which has no user
    wrong = {
        "EngineVersion": "EngineVersion" not in properties,
        "KmsKeyId": "KmsKeyId" not in properties,
        "DeletionProtection": _is_true(properties.get("DeletionProtection")),
        "UpdateReplacePolicy": body.get("UpdateReplacePolicy", "Delete") != "Delete",
        "ManageMasterUserPassword": not (is_managed or has_own),
    }
    for name in filter(wrong.get, wrong):
        fix = f"write {name} as infrastructure/main-pipeline.yaml does, which says why"
        fix += _REPLACES if name == "KmsKeyId" else ""
        yield warning(f"{name} of {cluster} {_SIDE_EFFECTS[name]}", fix)


def _old_version(cluster: str, properties: Json, newest: Snapshot | None) -> Iterator[Verdict]:
    """Yield an engine version that is older than the newest share's."""
    version = properties.get("EngineVersion")
    if newest is None or not isinstance(version, str):
        return
    old, new = ([*map(int, re.findall(r"\d+", each))] for each in (version, newest.engine_version))
    if old < new[: len(old)]:  # only as far as it is written
        yield problem(
            f"EngineVersion of {cluster} is {version}, older than {newest.engine_version} of {newest.arn}: "
            "every refresh fails",
            f"write EngineVersion: {newest.engine_version} in the template on the night of a refresh: the next run "
            "upgrades the cluster that is there (docs/main-pipeline.md)",
        )


def _exports(template: Json, replaced: Sequence[str]) -> Iterator[Verdict]:
    """Yield each exported output that changes with the cluster.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-importvalue.html
    """
    # The port stays the same.
    refers = re.compile(rf'["{{]({"|".join(replaced)})(?!(", "|\.)(Endpoint\.)?Port\b)["}}.]')
    for name, output in template["Outputs"].items():
        if "Export" in output and refers.search(json.dumps(output.get("Value"), default=str)):
            yield warning(
                f"output {name} is exported and changes with the cluster: while another stack imports it, every "
                "refresh rolls back",
                "write it to Parameter Store as infrastructure/main-pipeline.yaml does, and import it nowhere",
            )


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"
