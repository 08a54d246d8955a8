"""CloudFormation: stacks that are created, updated, replaced in and rolled back as their templates say.

moto's stacks are complete at once, never replace, do not roll back, and know neither a DeletionPolicy nor
``AWS::RDS::DBCluster``. What is restored here, from the CloudFormation User Guide (*Update behaviors of stack
resources*, *Stack status codes*, *CloudFormation-supplied parameter types*, *DeletionPolicy*, *UpdateReplacePolicy*) and
the API reference:

- an operation is ``…_IN_PROGRESS`` first, and until it has ended another one is refused;
- a parameter of a type ``AWS::SSM::Parameter::Value<…>`` is resolved at every update, also with unchanged input;
- a changed property that can only be given on creation replaces the resource: the new one is made first, what
  refers to it follows, and the old one goes last, as its UpdateReplacePolicy says. What cannot be deleted
  by then stays behind; the update has been completed all the same;
- what fails rolls the whole operation back; a stack whose creation rolled back can only be deleted;
- "No updates are to be performed." is an error.

Stacks are deployed by the pipeline's runs (``pipeline.py``) and through the API. moto reads the templates and
evaluates their functions. Change sets and dynamic references are not known.
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
    """A resource as it is deployed, with its resolved properties."""

    logical_resource_id: str
    cf_resource_type: str
    properties: Properties
    on_replace: str
    on_delete: str
    kind: Kind
    api: Api
    physical_resource_id: str = ""

    def get_cfn_attribute(self, attribute: str) -> Any:
        """Return what moto puts in the place of Fn::GetAtt."""
        return self.kind.attribute(self.api, self.physical_resource_id, attribute)


class LocalStack(Stack):
    """A stack as moto's API shows it, whose updates are made here."""

    def __init__(self, name: str, account: str, region: str) -> None:
        # An empty template keeps moto from making anything by itself.
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
        """Begin to create or update the stack; returns what carries it out, None if nothing changes.

        ``restore`` takes the time that new resources take, or fails. Raises Failed where the update is
        refused, with everything left as it was.
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
                list(outputs.values())  # which evaluates them
                restore()
            except Exception as error:  # noqa: BLE001 (whatever it is, what was done is undone)
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
            # The dependent goes before what it depends on.
            for name, old in reversed(list(before.items())):
                if name not in made:
                    self.dispose(old, old.on_delete)
                elif made[name].physical_resource_id != old.physical_resource_id:
                    self.dispose(old, old.on_replace)
            self.enter(f"{verb}_COMPLETE")
            return None

        return carry_out

    def delete(self) -> None:
        """Delete the resources; the stack keeps those that cannot be deleted."""
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
        """Delete what is no longer wanted, as its policy says; returns whether that worked."""
        if policy == "Retain":
            self.note(resource, "DELETE_SKIPPED")
            return True
        final = f"{self.name}-snapshot-{resource.logical_resource_id}-{uuid4().hex[:12]}".lower()
        try:
            name, snapshot = resource.physical_resource_id, policy == "Snapshot"
            resource.kind.delete(resource.api, name, final if snapshot else None)
        except Exception as error:  # noqa: BLE001 (whatever it is, the rest is still to be cleaned up)
            # A delete handler's NotFound is no failure (CloudFormation CLI User Guide, test contract).
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
        """Enter a status."""
        self.status = status
        self._add_stack_event(status, reason)

    # What moto's answers show.

    @property
    def stack_resources(self) -> Any:
        """Return the resources."""
        return list(self.resources.values())

    @property
    def parameter_list(self) -> list[dict[str, Any]]:
        """Return the parameters: of a stored one its name, and the value that it had."""
        return [
            {"ParameterKey": key, "ParameterValue": given}
            | ({"ResolvedValue": self.resolved[key]} if key in self.resolved else {})
            for key, given in self.given.items()
        ]


class _Update(ResourceMap):
    """One creation or update of a stack; to moto's functions, the map of its names."""

    def __init__(self, stack: LocalStack, document: Any, given: Mapping[str, str]) -> None:
        """Resolve the parameters; raise Failed if that cannot be done."""
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
        # Without defaults, which moto would resolve as well.
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
        """Return a name's value, or the resource, made what the template says when it is first referred to."""
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
        """Return whether the template is the same, and every resource that is deployed would stay as it is."""
        before = self._stack.resources
        if self.document != self._stack.template_dict or {*self._wanted_names()} != before.keys():
            return False
        self._made = dict(before)  # what refers to a resource refers to the present one
        same = all(self._wanted(name).properties == before[name].properties for name in before)
        self._made = {}
        return same

    def carry_out(self) -> dict[str, Resource]:
        """Create, modify and replace resources; returns them in the order in which they came."""
        for name in self._wanted_names():
            self[name]
        return self._made

    def undo(self, retain_except_on_create: bool) -> None:
        """Undo every change; a new resource is retained if its policy says so, unless ``retain_except_on_create``."""
        for step in reversed(self._undo):
            step(retain_except_on_create)

    def _wanted_names(self) -> list[str]:
        """Return the names of the resources whose condition holds."""
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
        # An update's roll-back is complete before it cleans up.
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
    """Create the stack or update it, as CodePipeline's CREATE_UPDATE does; returns what went wrong."""
    stacks = cloudformation_backends[account][region].stacks.values()
    found: Any = next((each for each in stacks if each.name == name), None)
    stack = found or LocalStack(name, account, region)  # type: ignore[abstract]
    try:
        carry_out = stack.begin(template, parameters, restore=restore)
    except Failed as refusal:
        return str(refusal)
    # "No updates are to be performed." is no failure to CodePipeline.
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
        """DeleteStack; of one that is not there, nothing is done."""
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
    """Let nothing go on that belongs to what is forgotten now."""
    for timer in _begun:
        timer.cancel()
        timer.join()
    _begun.clear()
