"""The main pipeline's stack: a template's clusters, put into place and replaced as CloudFormation does it.

moto's CloudFormation knows no ``AWS::RDS::DBCluster``, never replaces, and does not roll back. What is restored
here, from the CloudFormation User Guide (*Update behaviors of stack resources*, *CloudFormation-supplied
parameter types*, *Dynamic references*, *DeletionPolicy*, *UpdateReplacePolicy*), the schemas of the resource
types (``createOnlyProperties``) and the source of their handlers (aws-cloudformation-resource-providers-rds):

- a parameter of a type ``AWS::SSM::Parameter::Value<…>`` is resolved at every update, also with unchanged input;
- ``{{resolve:ssm:…}}`` is compared as it is written and resolved only when its resource is made or modified;
- a changed property that can only be given on creation replaces the resource: the new one is made first, what
  refers to it follows, and the old one goes last, as its UpdateReplacePolicy says. What cannot be deleted
  by then stays behind; the update has been completed all the same;
- what fails rolls the whole update back; a stack whose creation rolled back cannot be updated at all, and
  one whose roll-back failed not until it has been continued;
- a cluster with ``SnapshotIdentifier`` is restored, without the master user's name, and modified afterwards
  (``ManageMasterUserPassword``); one without it is created empty, and must name its master user.

It knows the resource types of :data:`KINDS`, which other modules add to, and refuses others. It is deployed by
the pipeline's runs (``pipeline.py``), and through the API (``stacks.py``).
"""

import contextlib
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar
from uuid import uuid4

from botocore import xform_name
from moto.cloudformation.models import Event, Stack, cloudformation_backends
from moto.cloudformation.parsing import LazyDict, clean_json, parse_condition
from moto.cloudformation.utils import generate_stack_id
from moto.core.utils import utcnow
from moto.rds.exceptions import SnapshotQuotaExceededFault
from moto.rds.models import rds_backends
from moto.ssm.models import ssm_backends

from localcloud.shares import MANUAL_SNAPSHOTS_PER_REGION, set_http_endpoint

Properties = dict[str, Any]

_DYNAMIC = re.compile(r"\{\{resolve:([a-z-]+):([^:}]+)(?::([^}]*))?\}\}")
_SSM_TYPE = re.compile(r"AWS::SSM::Parameter::Value<(.+)>")
_UPDATABLE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


class Failed(Exception):
    """What CloudFormation would give as the reason of a failure."""


@dataclass
class Resource:
    """A resource as it is deployed; ``properties`` are resolved except for dynamic references."""

    logical_resource_id: str
    cf_resource_type: str
    properties: Properties
    on_replace: str
    on_delete: str
    kind: "Kind"
    physical_resource_id: str = ""
    status: str = ""
    updated: datetime | None = None

    def get_cfn_attribute(self, name: str) -> Any:
        """What Fn::GetAtt answers."""
        return self.kind.attribute(self.physical_resource_id, name)


class Kind:
    """A resource type: what can only be given on creation, or under some condition so, and the handlers."""

    create_only: ClassVar[frozenset[str]]
    perhaps_create_only: ClassVar[frozenset[str]] = frozenset()
    on_delete: ClassVar[str] = "Delete"

    def __init__(self, account: str, region: str) -> None:
        self.rds: Any = rds_backends[account][region]
        self.ssm: Any = ssm_backends[account][region]

    def create(self, name: str, properties: Properties) -> str:
        """Create it, under ``name`` unless the properties say another; returns the physical id."""
        raise NotImplementedError

    def modify(self, name: str, old: Properties, new: Properties) -> None:
        """Change in place what can be."""
        raise NotImplementedError

    def delete(self, name: str, final_snapshot: str | None) -> None:
        """Delete it."""
        raise NotImplementedError

    def attribute(self, name: str, attribute: str) -> Any:
        """What Fn::GetAtt answers."""
        raise Failed(f"Attribute {attribute} of {name} is not known here")


class Cluster(Kind):
    """``AWS::RDS::DBCluster``."""

    on_delete = "Snapshot"
    create_only = _names(
        """
        ClusterScalabilityType DBClusterIdentifier DBSubnetGroupName DBSystemId DatabaseName EngineMode
        KmsKeyId PubliclyAccessible RestoreToTime RestoreType SnapshotIdentifier
        SourceDBClusterIdentifier SourceDbClusterResourceId SourceRegion StorageEncrypted
        UseLatestRestorableTime
        """
    )
    perhaps_create_only = _names("AvailabilityZones Engine GlobalClusterIdentifier MasterUsername")
    # What ModifyDBCluster takes of it; the rest, if it is not create-only, has no consequence here.
    _modifiable = ("BackupRetentionPeriod", "DeletionProtection", "EngineVersion")
    # RestoreDBClusterFromSnapshot takes none of them; the handler leaves them out.
    _not_restored = _names(
        "EnableHttpEndpoint ManageMasterUserPassword MasterUserPassword MasterUsername StorageEncrypted"
    )

    def create(self, name: str, properties: Properties) -> str:
        """Restore it and set its password, or create it empty."""
        name = properties.get("DBClusterIdentifier", name).lower()
        values = {**properties, "DBClusterIdentifier": name}
        snapshot = values.pop("SnapshotIdentifier", None)
        if name in self.rds.clusters:
            raise Failed(f"DB Cluster already exists: {name}")
        if snapshot is None:
            if not ("ManageMasterUserPassword" in values or "MasterUserPassword" in values):
                raise Failed("The parameter MasterUserPassword must be provided")
            self.rds.create_db_cluster(_snake(values))
            return name
        restored = {key: value for key, value in values.items() if key not in self._not_restored}
        self.rds.restore_db_cluster_from_snapshot(snapshot, _snake(restored))
        try:
            self._set_later(name, {}, properties)
        except Exception:
            self.rds.delete_db_cluster(name)
            raise
        return name

    def modify(self, name: str, old: Properties, new: Properties) -> None:
        """ModifyDBCluster; what is no longer given stays as it was."""
        values = {key: new[key] for key in self._modifiable if key in new}
        self.rds.modify_db_cluster(_snake({"DBClusterIdentifier": name, **values}))
        self._set_later(name, old, new)

    def delete(self, name: str, final_snapshot: str | None) -> None:
        """DeleteDBCluster; a final snapshot counts towards the quota, which moto has at another number."""
        own = self.rds.cluster_snapshots.values()
        manual = sum(each.snapshot_type == "manual" for each in own)
        if final_snapshot and manual >= MANUAL_SNAPSHOTS_PER_REGION:
            raise SnapshotQuotaExceededFault
        self.rds.delete_db_cluster(name, final_snapshot)

    def attribute(self, name: str, attribute: str) -> Any:
        """Where it is, and where its password is."""
        cluster = self.rds.clusters[name]
        if attribute == "MasterUserSecret.SecretArn":
            secret = getattr(cluster, "master_user_secret", None)
            if secret is None:
                raise Failed(f"{name} does not manage its master user's password")
            return secret.secret.arn
        known: dict[str, Callable[[], Any]] = {
            "Endpoint.Address": lambda: cluster.endpoint,
            "Endpoint.Port": lambda: str(cluster.port),
            "ReadEndpoint.Address": lambda: cluster.reader_endpoint,
            "DBClusterArn": lambda: cluster.db_cluster_arn,
        }
        answer = known.get(attribute)
        return answer() if answer else super().attribute(name, attribute)

    def _set_later(self, name: str, old: Properties, new: Properties) -> None:
        if "EnableHttpEndpoint" in new:
            enabled = _is_true(new["EnableHttpEndpoint"])
            set_http_endpoint(self.rds.clusters[name], enabled=enabled)
        managed = "ManageMasterUserPassword"
        if _is_true(new.get(managed)) and not _is_true(old.get(managed)):
            key = new.get("MasterUserSecret", {}).get("KmsKeyId")
            self.rds.modify_db_cluster(
                {
                    "db_cluster_identifier": name,
                    "manage_master_user_password": True,
                    "master_user_secret_kms_key_id": key,
                }
            )
        elif new.get("MasterUserPassword") != old.get("MasterUserPassword"):
            password = {"master_user_password": new.get("MasterUserPassword")}
            self.rds.modify_db_cluster({"db_cluster_identifier": name, **password})


class Instance(Kind):
    """``AWS::RDS::DBInstance``, a cluster's."""

    create_only = _names(
        """
        BackupTarget CharacterSetName CustomIAMInstanceProfile DBClusterIdentifier DBInstanceIdentifier
        DBName DBSubnetGroupName DBSystemId KmsKeyId MasterUsername NcharCharacterSetName SourceRegion
        StorageEncrypted Timezone
        """
    )
    perhaps_create_only = _names(
        """
        AutoMinorVersionUpgrade AvailabilityZone BackupRetentionPeriod DBClusterSnapshotIdentifier
        DBParameterGroupName DBSnapshotIdentifier Engine MultiAZ PerformanceInsightsKMSKeyId
        PreferredMaintenanceWindow RestoreTime SourceDBClusterIdentifier
        SourceDBInstanceAutomatedBackupsArn SourceDBInstanceIdentifier SourceDbiResourceId
        UseLatestRestorableTime
        """
    )

    def create(self, name: str, properties: Properties) -> str:
        """CreateDBInstance."""
        name = properties.get("DBInstanceIdentifier", name).lower()
        self.rds.create_db_instance(_snake({**properties, "DBInstanceIdentifier": name}))
        return name

    def modify(self, name: str, old: Properties, new: Properties) -> None:
        """Nothing that anybody would notice here."""

    def delete(self, name: str, final_snapshot: str | None) -> None:  # noqa: ARG002 (every kind is called alike)
        """DeleteDBInstance; a cluster's takes no snapshot."""
        self.rds.delete_db_instance(name, skip_final_snapshot=True)


class StoredParameter(Kind):
    """``AWS::SSM::Parameter``."""

    create_only = _names("Name")

    def create(self, name: str, properties: Properties) -> str:
        """PutParameter, not over another one."""
        name = properties.get("Name", name)
        self._put(name, properties, overwrite=False)
        return name

    def modify(self, name: str, old: Properties, new: Properties) -> None:  # noqa: ARG002 (every kind is called alike)
        """PutParameter over it."""
        self._put(name, new, overwrite=True)

    def delete(self, name: str, final_snapshot: str | None) -> None:  # noqa: ARG002 (every kind is called alike)
        """DeleteParameter."""
        self.ssm.delete_parameter(name)

    def attribute(self, name: str, attribute: str) -> Any:
        """What it holds."""
        if attribute != "Value":
            return super().attribute(name, attribute)
        return self.ssm.get_parameter(name).value

    def _put(self, name: str, properties: Properties, *, overwrite: bool) -> None:
        self.ssm.put_parameter(
            name=name,
            description=properties.get("Description", ""),
            value=properties["Value"],
            parameter_type=properties["Type"],
            allowed_pattern="",
            keyid="",
            overwrite=overwrite,
            tags=[],
            data_type="text",
            tier=None,
            policies=None,
        )


class DocumentCluster(Cluster):
    """``AWS::DocDB::DBCluster``, which has no property Engine."""

    engine: ClassVar[str] = "docdb"
    create_only = _names(
        """
        AvailabilityZones DBClusterIdentifier DBSubnetGroupName KmsKeyId MasterUsername SnapshotIdentifier
        SourceDBClusterIdentifier StorageEncrypted
        """
    )
    perhaps_create_only = frozenset()

    def create(self, name: str, properties: Properties) -> str:
        """Restore it or create it empty."""
        return super().create(name, {**properties, "Engine": self.engine})


class GraphCluster(DocumentCluster):
    """``AWS::Neptune::DBCluster``."""

    engine = "neptune"
    create_only = _names(
        """
        AvailabilityZones DBClusterIdentifier DBSubnetGroupName GlobalClusterIdentifier KmsKeyId
        RestoreToTime RestoreType SnapshotIdentifier SourceDBClusterIdentifier StorageEncrypted
        UseLatestRestorableTime
        """
    )


KINDS: dict[str, type[Kind]] = {
    "AWS::DocDB::DBCluster": DocumentCluster,
    "AWS::Neptune::DBCluster": GraphCluster,
    "AWS::RDS::DBCluster": Cluster,
    "AWS::RDS::DBInstance": Instance,
    "AWS::SSM::Parameter": StoredParameter,
}

# What a test ordered for a stack's next roll-back, by the stack's name: rollback_fails, resolved_value.
CONTROLS: dict[str, dict[str, Any]] = {}


class MainStack(Stack):
    """A stack as CloudFormation's API shows it, whose updates are made here."""

    def __init__(self, name: str, account: str, region: str) -> None:
        # An empty template keeps moto from making anything by itself.
        super().__init__(
            stack_id=generate_stack_id(name, region, account),
            name=name,
            template={},
            parameters={},
            account_id=account,
            region_name=region,
        )
        self.resources: dict[str, Resource] = {}
        self.last_updated_time: datetime | None = None
        self._given: dict[str, str] = {}
        self._resolved: dict[str, str] = {}
        self._outputs: list[dict[str, Any]] = []
        self._undo: Callable[[], None] | None = None

    def given_before(self) -> dict[str, str]:
        """Return the parameters as they were given the last time, or by default: UsePreviousValue."""
        return dict(self._given)

    def begin(
        self,
        template: str,
        parameters: Mapping[str, str],
        *,
        restore: Callable[[], None] = lambda: None,
        retain_except_on_create: bool = False,
    ) -> Callable[[], str | None] | None:
        """Begin to create or update the stack: returns what goes through with it, None if nothing changes.

        ``restore`` takes the time that new resources take, or fails. Raises Failed where the update is
        refused, with everything left as it was.
        """
        creating = self.status == "CREATE_PENDING"
        if not creating and self.status not in _UPDATABLE:
            raise Failed(f"Stack:{self.stack_id} is in {self.status} state and can not be updated.")
        update = _Update(self, _whole_attributes(self.parse_template(template)), parameters)
        try:
            update.resolve()
        except Exception as error:
            raise Failed(str(error)) from error
        if not creating and update.changes_nothing() and update.document == self.template_dict:
            return None
        self._enter(f"{'CREATE' if creating else 'UPDATE'}_IN_PROGRESS", "User Initiated")
        before, self._resolved = self._resolved, update.resolved
        if creating:
            self._given = update.values

        def carry_out() -> str | None:
            try:
                update.carry_out()
                outputs = update.outputs()
                restore()
            except Exception as error:  # noqa: BLE001 (whatever it is, what was done is undone)
                self._undo = lambda: update.undo(retain_except_on_create)
                self._roll_back("ROLLBACK" if creating else "UPDATE_ROLLBACK", str(error), before)
                return str(error)
            self.resources = {name: update.scope.made[name] for name in update.names()}
            self.template, self.template_dict = template, update.document
            self.parameters = dict(update.given)
            self._given, self._outputs = update.values, outputs
            update.clean_up()
            self._enter(f"{'CREATE' if creating else 'UPDATE'}_COMPLETE")
            return None

        return carry_out

    def continue_rollback(self) -> None:
        """Roll back what could not be rolled back: ContinueUpdateRollback."""
        if self.status != "UPDATE_ROLLBACK_FAILED":
            raise Failed(f"Stack:{self.stack_id} is in {self.status} state")
        self._roll_back("UPDATE_ROLLBACK", "User Initiated", self._resolved)

    def _roll_back(self, status: str, reason: str, resolved: dict[str, str]) -> None:
        """Undo the update, unless this is to fail.

        What ResolvedValue says afterwards is undocumented, so a test can choose.
        """
        controls = CONTROLS.pop(self.name, {})
        self._enter(f"{status}_IN_PROGRESS", reason)
        if controls.get("resolved_value") == "deployed":
            self._resolved = resolved
        if controls.get("rollback_fails"):
            self._enter(f"{status}_FAILED")
            return
        assert self._undo is not None
        self._undo()
        self._enter(f"{status}_COMPLETE")

    def delete(self) -> None:
        """DeleteStack, of what can be deleted."""
        self._enter("DELETE_IN_PROGRESS", "User Initiated")
        problems = [
            self.dispose(resource, resource.on_delete)
            for resource in reversed(self.resources.values())
        ]
        self._enter("DELETE_FAILED" if any(problems) else "DELETE_COMPLETE")

    def dispose(self, resource: Resource, policy: str) -> bool:
        """Delete what is no longer wanted, as its policy says; returns whether that failed."""
        if policy == "Retain":
            self.note(resource, "DELETE_SKIPPED")
            return False
        final = f"{self.name}-snapshot-{resource.logical_resource_id}-{uuid4().hex[:12]}".lower()
        try:
            resource.kind.delete(
                resource.physical_resource_id, final if policy == "Snapshot" else None
            )
        except Exception as error:  # noqa: BLE001 (whatever it is, the rest is still to be cleaned up)
            self.note(resource, "DELETE_FAILED", str(error))
            return True
        self.note(resource, "DELETE_COMPLETE")
        return False

    def note(self, resource: Resource, status: str, reason: str | None = None) -> None:
        """Add a resource's event."""
        resource.status, resource.updated = status, utcnow()
        self.events.append(
            Event(
                self.stack_id,
                self.name,
                resource.logical_resource_id,
                resource.physical_resource_id,
                resource.cf_resource_type,
                status,
                reason,
                json.dumps(resource.properties, default=str),
            )
        )

    def _enter(self, status: str, reason: str | None = None) -> None:
        self.status = status
        if status.startswith("UPDATE"):
            self.last_updated_time = utcnow()
        self._add_stack_event(status, reason)

    @staticmethod
    def cloudformation_name_type() -> str:
        """No template names a stack of this kind."""
        return ""

    def is_created(self) -> bool:
        """Whether its creation has ended well."""
        return self.status in _UPDATABLE

    @property
    def stack_name(self) -> str:
        """What ListStacks, which goes by the class's name, would not find otherwise."""
        return self.name

    @property
    def stack_status(self) -> str:
        """As above."""
        return self.status

    @property
    def stack_resources(self) -> Any:
        """What DescribeStackResources lists."""
        return list(self.resources.values())

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """What DescribeStacks shows of them."""
        return self._outputs

    @property
    def parameter_list(self) -> list[dict[str, Any]]:
        """What DescribeStacks shows of them: a stored parameter's name and the value it had."""
        return [
            {"ParameterKey": key, "ParameterValue": given}
            | ({"ResolvedValue": self._resolved[key]} if key in self._resolved else {})
            for key, given in self._given.items()
        ]


@dataclass
class _Scope(dict[str, Any]):
    """What names refer to: pseudo parameters, parameters, mappings, and resources, made when first asked for."""

    known: dict[str, Any]
    bring: Callable[[str], Resource]
    made: dict[str, Resource] = field(default_factory=dict)
    # Where moto's resolver looks for these.
    lazy_condition_map: LazyDict = field(default_factory=LazyDict)
    cross_stack_resources: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        if name in self.known:
            return self.known[name]
        if name not in self.made:
            self.made[name] = self.bring(name)
        return self.made[name]

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default


class _Update:
    """One creation or update of a stack, from the template to the clean-up."""

    def __init__(self, stack: MainStack, document: Any, given: Mapping[str, str]) -> None:
        self._stack = stack
        self.document = document
        self.given = given
        self._bodies: dict[str, Any] = document.get("Resources", {})
        self._before = stack.resources
        self._created: list[Resource] = []
        self._modified: list[tuple[Resource, Resource]] = []
        self.values: dict[str, str] = {}
        self.resolved: dict[str, str] = {}
        self.scope = self._new_scope(self._bring)

    def resolve(self) -> None:
        """Resolve the parameters; before that nothing can be told of the rest."""
        for name, body in self._bodies.items():
            if body["Type"] not in KINDS:
                raise Failed(f"{name}: the local cloud's main stack knows no {body['Type']}")
        declared = self.document.get("Parameters", {})
        unknown = self.given.keys() - declared.keys()
        if unknown:
            raise Failed(f"Parameters: [{', '.join(sorted(unknown))}] do not exist in the template")
        for name, parameter in declared.items():
            value = self.given.get(name, parameter.get("Default"))
            if value is None:
                raise Failed(f"Parameters: [{name}] must have values")
            stored = _SSM_TYPE.fullmatch(parameter["Type"])
            self.values[name] = final = str(value)
            if stored:
                self.resolved[name] = final = _held(self._stack, final)
            is_list = "List" in (stored[1] if stored else parameter["Type"])
            self.scope.known[name] = final.split(",") if is_list else final

    def changes_nothing(self) -> bool:
        """Whether every resource that is deployed would stay as it is."""
        trial = self._new_scope(lambda name: self._before[name], self.scope.known)
        try:
            return set(self.names()) == set(self._before) and all(
                self._wanted(name, trial).properties == self._before[name].properties
                for name in self._before
            )
        except KeyError:
            return False

    def names(self) -> list[str]:
        """The resources whose condition holds, in the order in which they came about so far."""
        wanted = [
            name
            for name, body in self._bodies.items()
            if "Condition" not in body or self.scope.lazy_condition_map[body["Condition"]]
        ]
        come = [name for name in self.scope.made if name in wanted]
        return come + [name for name in wanted if name not in come]

    def carry_out(self) -> None:
        """Create, modify and replace; nothing is deleted yet."""
        for name in self.names():
            _ = self.scope[name]

    def outputs(self) -> list[dict[str, Any]]:
        """What DescribeStacks shows."""
        return [
            {
                "OutputKey": key,
                "OutputValue": clean_json(body["Value"], self.scope),  # type: ignore[arg-type]
                "Description": body.get("Description"),
            }
            for key, body in self.document.get("Outputs", {}).items()
        ]

    def undo(self, retain_except_on_create: bool) -> None:
        """Put everything back; what is to be retained is, unless told otherwise, also if it is new."""
        for old, new in reversed(self._modified):
            old.kind.modify(old.physical_resource_id, new.properties, self._resolved(old))
        for resource in reversed(self._created):
            retained = resource.on_delete == "Retain" and not retain_except_on_create
            self._stack.dispose(resource, "Retain" if retained else "Delete")

    def clean_up(self) -> None:
        """Delete what was replaced or removed, the dependent before what it depends on."""
        now = self._stack.resources
        for name, old in reversed(self._before.items()):
            if name not in now:
                self._stack.dispose(old, old.on_delete)
            elif now[name].physical_resource_id != old.physical_resource_id:
                self._stack.dispose(old, old.on_replace)

    def _bring(self, name: str) -> Resource:
        """Make the resource what the template says; what it refers to comes first."""
        if name not in self._bodies:
            raise KeyError(name)
        wanted, old = self._wanted(name, self.scope), self._before.get(name)
        if (
            old is None
            or old.cf_resource_type != wanted.cf_resource_type
            or _differing(old, wanted, wanted.kind.create_only)
        ):
            generated = f"{self._stack.name}-{name}-{uuid4().hex[:12]}".lower()
            with self._told_if_it_fails(wanted, "CREATE_FAILED"):
                wanted.physical_resource_id = wanted.kind.create(generated, self._resolved(wanted))
            self._created.append(wanted)
            self._stack.note(wanted, "UPDATE_COMPLETE" if old else "CREATE_COMPLETE")
            return wanted
        wanted.physical_resource_id = old.physical_resource_id
        wanted.status, wanted.updated = old.status, old.updated
        if unsure := _differing(old, wanted, wanted.kind.perhaps_create_only):
            raise Failed(
                f"{name}: whether another {', '.join(unsure)} replaces it is not known here"
            )
        if old.properties != wanted.properties:
            self._modified.append((old, wanted))
            with self._told_if_it_fails(wanted, "UPDATE_FAILED"):
                wanted.kind.modify(
                    old.physical_resource_id, self._resolved(old), self._resolved(wanted)
                )
            self._stack.note(wanted, "UPDATE_COMPLETE")
        return wanted

    @contextlib.contextmanager
    def _told_if_it_fails(self, resource: Resource, status: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._stack.note(resource, status, str(error))
            raise

    def _wanted(self, name: str, scope: _Scope) -> Resource:
        body = self._bodies[name]
        dependencies = body.get("DependsOn", [])
        for dependency in [dependencies] if isinstance(dependencies, str) else dependencies:
            _ = scope[dependency]
        kind = KINDS[body["Type"]](self._stack.account_id, self._stack.region_name)
        return Resource(
            name,
            body["Type"],
            clean_json(body.get("Properties", {}), scope),  # type: ignore[arg-type]
            body.get("UpdateReplacePolicy", "Delete"),
            body.get("DeletionPolicy", kind.on_delete),
            kind,
        )

    def _resolved(self, resource: Resource) -> Properties:
        """The properties, dynamic references resolved."""

        def value(match: re.Match[str]) -> str:
            service, name, version = match.groups()
            if service != "ssm":
                raise Failed(f"the local cloud's main stack resolves no {service} reference")
            return _held(self._stack, f"{name}:{version}" if version else name)

        def walk(node: Any) -> Any:
            if isinstance(node, dict):
                return {key: walk(each) for key, each in node.items()}
            if isinstance(node, list):
                return [walk(each) for each in node]
            return _DYNAMIC.sub(value, node) if isinstance(node, str) else node

        resolved: Properties = walk(resource.properties)
        return resolved

    def _new_scope(
        self, bring: Callable[[str], Resource], known: dict[str, Any] | None = None
    ) -> _Scope:
        scope = _Scope(
            known
            or {
                "AWS::AccountId": self._stack.account_id,
                "AWS::Region": self._stack.region_name,
                "AWS::StackId": self._stack.stack_id,
                "AWS::StackName": self._stack.name,
                "AWS::NoValue": None,
                "AWS::Partition": "aws",
                "AWS::URLSuffix": "amazonaws.com",
                **self.document.get("Mappings", {}),
            },
            bring,
        )
        conditions: Any = scope.lazy_condition_map
        for name, condition in self.document.get("Conditions", {}).items():
            conditions[name] = functools.partial(parse_condition, condition, scope, conditions)  # type: ignore[arg-type]
        return scope


def deploy(
    account: str,
    region: str,
    name: str,
    template: str,
    parameters: Mapping[str, str],
    restore: Callable[[], None],
) -> tuple[str, str | None]:
    """Create the stack or update it, as CodePipeline's CREATE_UPDATE does; returns its id and what went wrong."""
    stacks = cloudformation_backends[account][region].stacks
    stack = next((each for each in stacks.values() if each.name == name), None)
    if stack is None:
        stack = MainStack(name, account, region)
    assert isinstance(stack, MainStack)  # stacks.py makes no others
    try:
        carry_out = stack.begin(template, parameters, restore=restore)
    except Failed as refusal:
        return stack.stack_id, str(refusal)
    stacks[stack.stack_id] = stack
    # "No updates are to be performed." is no failure to CodePipeline.
    return stack.stack_id, carry_out() if carry_out else None


def _whole_attributes(node: Any) -> Any:
    """The template with each Fn::GetAtt as a pair, of which moto's resolver reads the first two words."""
    if isinstance(node, list):
        return [_whole_attributes(each) for each in node]
    if not isinstance(node, dict):
        return node
    if node.keys() == {"Fn::GetAtt"}:
        words = node["Fn::GetAtt"]
        name, *attribute = words.split(".") if isinstance(words, str) else words
        return {"Fn::GetAtt": [name, ".".join(attribute)]}
    return {key: _whole_attributes(each) for key, each in node.items()}


def _differing(old: Resource, new: Resource, properties: frozenset[str]) -> list[str]:
    return sorted(p for p in properties if old.properties.get(p) != new.properties.get(p))


def _held(stack: MainStack, name: str) -> str:
    """What the stored parameter holds."""
    parameter = ssm_backends[stack.account_id][stack.region_name].get_parameter(name)
    if parameter is None:
        raise Failed(f"Unable to fetch parameters [{name}] from parameter store for this account.")
    return str(parameter.value)


def _snake(properties: Properties) -> dict[str, Any]:
    """An operation's parameters as moto's backends take them; a template's texts for what is no text."""
    words = {"true": True, "false": False}
    return {
        xform_name(key): words.get(value.lower(), value) if isinstance(value, str) else value
        for key, value in properties.items()
    }


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"
