"""CloudFormation: create, update and roll back stacks, and replace their resources.

moto's stacks are complete at once, replace nothing, do not roll back, and support neither a DeletionPolicy nor
``AWS::RDS::DBCluster``. This module restores the following, from the CloudFormation User Guide (*Update behaviors of
stack resources*, *Stack status codes*, *CloudFormation-supplied parameter types*, *DeletionPolicy*,
*UpdateReplacePolicy*) and the API reference:

- an operation is ``…_IN_PROGRESS`` first, and until it has ended, another one is refused;
- a parameter of a type ``AWS::SSM::Parameter::Value<…>`` is resolved at every update, even if its input is the same;
- a change of a create-only property replaces the resource: the new one is created, then what refers to it is
  updated, and finally the old one is deleted, unless its UpdateReplacePolicy says otherwise. If it cannot be
  deleted, it is left behind, and the update is complete all the same;
- a failure rolls back the whole operation; a stack whose creation was rolled back can only be deleted;
- "No updates are to be performed." is an error.

Stacks are deployed by the pipeline's runs (``pipeline.py``) and through the API. moto reads the templates and
evaluates their functions. Change sets and dynamic references are not supported.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError
from moto.cloudformation.exceptions import AlreadyExistsException, ValidationError
from moto.cloudformation.models import Event, Stack, cloudformation_backends
from moto.cloudformation.parsing import OutputMap, ResourceMap, clean_json
from moto.cloudformation.responses import CloudFormationResponse
from moto.cloudformation.utils import generate_stack_id
from moto.core.responses import ActionResult, EmptyResult
from moto.ssm.models import ssm_backends

from localcloud import clock
from localcloud.resources import KINDS, Api, Failed, Kind, Properties

_STORED = "AWS::SSM::Parameter::Value"
_UPDATABLE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
_begun: list[threading.Timer] = []  # the operations of the API


@dataclass
class Resource:
    """A deployed resource with its resolved properties."""

    logical_resource_id: str
    cf_resource_type: str
    properties: Properties
    on_replace: str
    on_delete: str
    kind: Kind
    api: Api
    physical_resource_id: str = ""

    def get_cfn_attribute(self, attribute: str) -> Any:
        """Return the value of Fn::GetAtt."""
        return self.kind.attribute(self.api, self.physical_resource_id, attribute)


class LocalStack(Stack):
    """A stack for moto's API, with updates of its own."""

    def __init__(self, name: str, account: str, region: str) -> None:
        # With an empty template, moto creates nothing by itself.
        super().__init__(
            generate_stack_id(name, region, account), name, {}, {}, account, region_name=region
        )
        self.backend = cloudformation_backends[account][region]
        self.resources: dict[str, Resource] = {}
        self.given: dict[str, str] = {}
        self.resolved: dict[str, str] = {}

    def begin(
        self,
        template: str,
        parameters: Mapping[str, str],
        *,
        restore: Callable[[], None] = lambda: None,
        retain_except_on_create: bool = False,
    ) -> Callable[[], str | None] | None:
        """Begin to create or update the stack; return a function that does it, or None if nothing changes.

        ``restore`` takes the time that new resources take, or fails. Raise Failed if the update is refused,
        and leave everything as it was.
        """
        verb = "CREATE" if self.status == "CREATE_PENDING" else "UPDATE"
        if verb == "UPDATE" and self.status not in _UPDATABLE:
            raise Failed(f"Stack:{self.stack_id} is in {self.status} state and can not be updated.")
        update = _Update(self, self.parse_template(template), parameters)
        if verb == "UPDATE" and update.changes_nothing():
            return None
        self.backend.stacks[self.stack_id] = self
        self.enter(f"{verb}_IN_PROGRESS", "User Initiated")
        previous = (self.given, self.resolved)
        self.given, self.resolved = update.given, update.resolved

        def carry_out() -> str | None:
            try:
                made = update.carry_out()
                outputs = OutputMap(update, update.document, self.stack_id)
                list(outputs.values())  # evaluates them
                restore()
            except Exception as error:  # noqa: BLE001 (whatever it is, everything is undone)
                rollback = "ROLLBACK" if verb == "CREATE" else "UPDATE_ROLLBACK"
                self.enter(f"{rollback}_IN_PROGRESS", str(error))
                try:
                    update.undo(retain_except_on_create)
                except Exception as failure:  # noqa: BLE001 (as above)
                    self.enter(f"{rollback}_FAILED", str(failure))
                    return str(error)
                if verb == "UPDATE":
                    self.given, self.resolved = previous
                self.enter(f"{rollback}_COMPLETE")
                return str(error)
            before, self.resources = self.resources, made
            self.template, self.template_dict = template, update.document
            self.output_map = outputs
            # A resource is deleted before those it depends on.
            for name, old in reversed(list(before.items())):
                if name not in made:
                    self.dispose(old, old.on_delete)
                elif made[name].physical_resource_id != old.physical_resource_id:
                    self.dispose(old, old.on_replace)
            self.enter(f"{verb}_COMPLETE")
            return None

        return carry_out

    def delete(self) -> None:
        """Delete the resources; those that cannot be deleted stay in the stack."""
        self.enter("DELETE_IN_PROGRESS", "User Initiated")
        for name, resource in reversed(list(self.resources.items())):
            if self.dispose(resource, resource.on_delete):
                del self.resources[name]
        if self.resources:
            failed = f"The following resource(s) failed to delete: [{', '.join(self.resources)}]."
            self.enter("DELETE_FAILED", failed)
        else:
            self.enter("DELETE_COMPLETE")
            self.backend.deleted_stacks[self.stack_id] = self.backend.stacks.pop(self.stack_id)

    def dispose(self, resource: Resource, policy: str) -> bool:
        """Delete or retain a resource, as its policy says; return whether that worked."""
        if policy == "Retain":
            self.note(resource, "DELETE_SKIPPED")
            return True
        final = f"{self.name}-snapshot-{resource.logical_resource_id}-{uuid4().hex[:12]}".lower()
        try:
            name, snapshot = resource.physical_resource_id, policy == "Snapshot"
            resource.kind.delete(resource.api, name, final if snapshot else None)
        except Exception as error:  # noqa: BLE001 (whatever it is, the rest has to be cleaned up)
            # NotFound in a delete handler is no failure (CloudFormation CLI User Guide, test contract).
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
            if "NotFound" not in code and code != "NoSuchEntity":
                self.note(resource, "DELETE_FAILED", str(error))
                return False
        self.note(resource, "DELETE_COMPLETE")
        return True

    def note(self, resource: Resource, status: str, reason: str | None = None) -> None:
        """Add a resource's event."""
        logical, kind = resource.logical_resource_id, resource.cf_resource_type
        whose = (logical, resource.physical_resource_id, kind)
        self.events.append(Event(self.stack_id, self.name, *whose, status, reason, None))

    def enter(self, status: str, reason: str | None = None) -> None:
        """Set the status."""
        self.status = status
        self._add_stack_event(status, reason)

    # For moto's answers.

    @property
    def stack_resources(self) -> Any:
        """Return the resources."""
        return list(self.resources.values())

    @property
    def parameter_list(self) -> list[dict[str, Any]]:
        """Return the parameters; a stored one has its name and its resolved value."""
        return [
            {"ParameterKey": key, "ParameterValue": given}
            | ({"ResolvedValue": self.resolved[key]} if key in self.resolved else {})
            for key, given in self.given.items()
        ]


class _Update(ResourceMap):
    """One creation or update of a stack; moto's functions use it as the map of names."""

    def __init__(self, stack: LocalStack, document: Any, given: Mapping[str, str]) -> None:
        """Resolve the parameters; raise Failed if that is not possible."""
        self._stack = stack
        self._api = Api(stack.account_id, stack.region_name)
        self._made: dict[str, Resource] = {}
        self._undo: list[Callable[[bool], object]] = []
        self.document = document
        self.given: dict[str, str] = {}
        types: dict[str, Any] = {}
        if unknown := given.keys() - document.get("Parameters", {}).keys():
            raise Failed(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
        for name, parameter in document.get("Parameters", {}).items():
            types[name] = {"Type": parameter["Type"]}
            value = given.get(name, parameter.get("Default"))
            if value is None:
                raise Failed(f"Parameters: [{name}] must have values")
            self.given[name] = str(value)
        account, region = stack.account_id, stack.region_name
        # Without defaults, because moto would resolve these again.
        template = {**document, "Parameters": types}
        super().__init__(
            stack.stack_id, stack.name, self.given, {}, region, account, template, None
        )
        for name, body in self._resource_json_map.items():
            if body["Type"] not in KINDS:
                raise Failed(f"{name}: the local cloud knows no {body['Type']}")
        self.resolved = {
            name: self._held(self.given[name])
            for name, each in types.items()
            if each["Type"].startswith(_STORED)
        }
        self.load_parameters()
        self.load_conditions()

    def __getitem__(self, key: str) -> Any:
        """Return the value of a name, or the resource, which is deployed when it is first referred to."""
        if key in self._parsed_resources:
            return self._parsed_resources[key]
        if key not in self._made:
            self._made[key] = self._bring(self._wanted(key), self._stack.resources.get(key))
        return self._made[key]

    def _held(self, name: str) -> str:
        parameter = ssm_backends[self._account_id][self._region_name].get_parameter(name)
        if parameter is None:
            reason = f"Unable to fetch parameters [{name}] from parameter store for this account."
            raise Failed(reason)
        return str(parameter.value)

    def changes_nothing(self) -> bool:
        """Return whether neither the template nor any deployed resource would change."""
        before = self._stack.resources
        if self.document != self._stack.template_dict or {*self._wanted_names()} != before.keys():
            return False
        self._made = dict(before)  # references are to the present resources
        same = all(self._wanted(name).properties == before[name].properties for name in before)
        self._made = {}
        return same

    def carry_out(self) -> dict[str, Resource]:
        """Create, update and replace resources; return them in the order of their creation."""
        for name in self._wanted_names():
            self[name]
        return self._made

    def undo(self, retain_except_on_create: bool) -> None:
        """Undo every change; retain a new resource if its policy says so, unless ``retain_except_on_create``."""
        for step in reversed(self._undo):
            step(retain_except_on_create)

    def _wanted_names(self) -> list[str]:
        """Return the names of the resources whose condition is true."""
        return [
            name
            for name, body in self._resource_json_map.items()
            if "Condition" not in body or self.lazy_condition_map[body["Condition"]]
        ]

    def _bring(self, wanted: Resource, old: Resource | None) -> Resource:
        stack, kind = self._stack, wanted.kind
        replaced = old is None or any(
            old.properties.get(each) != wanted.properties.get(each) for each in kind.create_only
        )
        if old and not replaced:
            wanted.physical_resource_id = old.physical_resource_id
            if old.properties == wanted.properties:
                return wanted
        try:
            if old is None or replaced:
                name = f"{stack.name}-{wanted.logical_resource_id}".lower()[:51]
                wanted.physical_resource_id = kind.create(
                    self._api, f"{name}-{uuid4().hex[:12]}", wanted.properties
                )
                self._undo.append(lambda anyway: self._discard(wanted, anyway))
            else:
                name, values = wanted.physical_resource_id, (old.properties, wanted.properties)
                self._undo.append(lambda _: kind.change(self._api, name, *reversed(values)))
                kind.change(self._api, name, *values)
        except Exception as error:
            stack.note(wanted, f"{'UPDATE' if old else 'CREATE'}_FAILED", str(error))
            raise
        stack.note(wanted, f"{'UPDATE' if old else 'CREATE'}_COMPLETE")
        return wanted

    def _discard(self, resource: Resource, anyway: bool) -> None:
        retained = resource.on_delete == "Retain" and not anyway
        is_deleted = self._stack.dispose(resource, "Retain" if retained else "Delete")
        # The rollback of an update is complete before its cleanup.
        if not is_deleted and self._stack.status == "ROLLBACK_IN_PROGRESS":
            raise Failed(f"{resource.logical_resource_id} failed to delete")

    def _wanted(self, name: str) -> Resource:
        body = self._resource_json_map[name]
        dependencies = body.get("DependsOn", [])
        for dependency in [dependencies] if isinstance(dependencies, str) else dependencies:
            self[dependency]
        kind = KINDS[body["Type"]]
        return Resource(
            name,
            body["Type"],
            clean_json(body.get("Properties", {}), self),
            body.get("UpdateReplacePolicy", "Delete"),
            body.get("DeletionPolicy", kind.on_delete),
            kind,
            self._api,
        )


def deploy(
    account: str,
    region: str,
    name: str,
    template: str,
    parameters: Mapping[str, str],
    restore: Callable[[], None],
) -> str | None:
    """Create or update the stack, as CodePipeline's CREATE_UPDATE does; return why it failed, if it did."""
    stacks = cloudformation_backends[account][region].stacks.values()
    found: Any = next((each for each in stacks if each.name == name), None)
    stack = found or LocalStack(name, account, region)  # type: ignore[abstract]
    try:
        carry_out = stack.begin(template, parameters, restore=restore)
    except Failed as refusal:
        return str(refusal)
    # To CodePipeline, "No updates are to be performed." is no failure.
    return carry_out() if carry_out else None


class StackResponse(CloudFormationResponse):
    """CloudFormation's API for whole stacks."""

    def create_stack(self) -> ActionResult:
        name, stacks = self._get_param("StackName"), self.cloudformation_backend.stacks
        if any(stack.name == name for stack in stacks.values()):
            raise AlreadyExistsException(f"Stack [{name}] already exists")
        return self._deploy(LocalStack(name, self.current_account, self.region))  # type: ignore[abstract]

    def update_stack(self) -> ActionResult:
        stack: Any = self.cloudformation_backend.get_stack(self._get_param("StackName"))
        return self._deploy(stack)

    def delete_stack(self) -> EmptyResult:
        """DeleteStack; it ignores a stack that does not exist."""
        stacks: Any = self.cloudformation_backend.stacks.values()
        for stack in list(stacks):
            if self._get_param("StackName") in (stack.name, stack.stack_id):
                stack.status = "DELETE_IN_PROGRESS"
                _soon(stack.delete)
        return EmptyResult()

    def _deploy(self, stack: LocalStack) -> ActionResult:
        try:
            carry_out = stack.begin(
                self._get_param("TemplateBody"),
                self._get_param_values(self._get_param("Parameters", []), stack.given),
                retain_except_on_create=self._get_bool_param("RetainExceptOnCreate", False),
            )
        except Failed as refusal:
            raise ValidationError(message=str(refusal)) from refusal
        if carry_out is None:
            raise ValidationError(message="No updates are to be performed.")
        _soon(carry_out)
        return ActionResult({"StackId": stack.stack_id})


def _soon(operation: Callable[[], object]) -> None:
    timer = threading.Timer(clock.seconds["stack"], operation)
    timer.daemon = True
    _begun.append(timer)
    timer.start()


def reset() -> None:
    """Cancel the operations that have not begun, and wait for those that have."""
    for timer in _begun:
        timer.cancel()
        timer.join()
    _begun.clear()
