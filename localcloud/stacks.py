"""CloudFormation's API: stacks are created, updated and deleted as ``mainstack.py`` does it, and it takes time.

moto's stacks are complete at once, are updated with nothing changed, know no DeletionPolicy, and nothing of the
resource types that are added here. What is restored, from the CloudFormation API reference, its User Guide
(*Stack status codes*, *DeletionPolicy*) and the schemas of the resource types:

- an operation is ``…_IN_PROGRESS`` first, and until it has ended another one is refused;
- "No updates are to be performed." is an error;
- a failed creation ends in ROLLBACK_COMPLETE, from where a stack can only be deleted;
- ``RetainExceptOnCreate``: whether a rollback deletes what is new in spite of its policy Retain;
- a resource that exists already is not taken over.

Change sets are refused.
"""

import functools
import threading
from collections.abc import Callable
from typing import Any

import moto.cloudformation.urls
from moto.awslambda.models import lambda_backends
from moto.cloudformation.exceptions import AlreadyExistsException, ValidationError
from moto.cloudformation.models import cloudformation_backends
from moto.cloudformation.responses import CloudFormationResponse
from moto.cloudwatch.models import (
    cloudwatch_backends,
)
from moto.core.responses import ActionResult, EmptyResult
from moto.iam.models import iam_backends
from moto.logs.models import logs_backends
from moto.sns.models import sns_backends

from localcloud import authorization, identities
from localcloud.mainstack import CONTROLS, KINDS, Failed, Kind, MainStack, Properties

_SECONDS = 0.2
# The API reference bounds a page by its size only; the paged answers of AWS have 100.
_RESOURCES_A_PAGE = 100
_under_way: set[threading.Timer] = set()
_takes = {"seconds": _SECONDS}  # of real time, an operation


class Topic(Kind):
    """``AWS::SNS::Topic``."""

    create_only = frozenset({"FifoTopic", "TopicName"})

    def __init__(self, account: str, region: str) -> None:
        super().__init__(account, region)
        self.sns: Any = sns_backends[account][region]

    def create(self, name: str, properties: Properties) -> str:
        """CreateTopic, of one that is not there."""
        name = properties.get("TopicName", name)
        if any(topic.name == name for topic in self.sns.topics.values()):
            raise Failed(f"Topic already exists: {name}")
        arn: str = self.sns.create_topic(name).arn
        return arn

    def modify(self, name: str, old: Properties, new: Properties) -> None:
        """Nothing that anybody would notice here."""

    def delete(self, name: str, final_snapshot: str | None) -> None:  # noqa: ARG002 (every kind is called alike)
        """DeleteTopic."""
        self.sns.delete_topic(name)


class Subscription(Kind):
    """``AWS::SNS::Subscription``; one of an e-mail address waits until it is confirmed."""

    create_only = frozenset({"Endpoint", "Protocol", "TopicArn"})
    perhaps_create_only = frozenset({"Region"})

    def __init__(self, account: str, region: str) -> None:
        super().__init__(account, region)
        self.sns: Any = sns_backends[account][region]

    def create(self, name: str, properties: Properties) -> str:  # noqa: ARG002 (every kind is called alike)
        """Subscribe."""
        arn: str = self.sns.subscribe(
            properties["TopicArn"], properties["Endpoint"], properties["Protocol"]
        ).arn
        return arn

    def modify(self, name: str, old: Properties, new: Properties) -> None:
        """Nothing that anybody would notice here."""

    def delete(self, name: str, final_snapshot: str | None) -> None:  # noqa: ARG002 (every kind is called alike)
        """Unsubscribe."""
        self.sns.unsubscribe(name)


class Alarm(Kind):
    """``AWS::CloudWatch::Alarm``."""

    create_only = frozenset({"AlarmName"})

    def __init__(self, account: str, region: str) -> None:
        super().__init__(account, region)
        self.cloudwatch: Any = cloudwatch_backends[account][region]

    def create(self, name: str, properties: Properties) -> str:
        """PutMetricAlarm, not over another one."""
        name = properties.get("AlarmName", name)
        if name in self.cloudwatch.alarms:
            raise Failed(f"{name} already exists")
        self._put(name, properties)
        return name

    def modify(self, name: str, old: Properties, new: Properties) -> None:  # noqa: ARG002 (every kind is called alike)
        """PutMetricAlarm over it."""
        self._put(name, new)

    def delete(self, name: str, final_snapshot: str | None) -> None:  # noqa: ARG002 (every kind is called alike)
        """DeleteAlarms."""
        self.cloudwatch.delete_alarms([name])

    def _put(self, name: str, properties: Properties) -> None:
        if properties.get("Period", 0) * properties["EvaluationPeriods"] > 7 * 86400:
            raise Failed("Metrics cannot be checked across more than a week")
        self.cloudwatch.put_metric_alarm(
            name=name,
            namespace=properties.get("Namespace"),
            metric_name=properties.get("MetricName"),
            comparison_operator=properties["ComparisonOperator"],
            evaluation_periods=properties["EvaluationPeriods"],
            datapoints_to_alarm=properties.get("DatapointsToAlarm"),
            period=properties.get("Period"),
            threshold=float(properties["Threshold"]),
            statistic=properties.get("Statistic"),
            description=properties.get("AlarmDescription"),
            dimensions=properties.get("Dimensions", []),
            alarm_actions=properties.get("AlarmActions", []),
            treat_missing_data=properties.get("TreatMissingData"),
        )


class Dashboard(Kind):
    """``AWS::CloudWatch::Dashboard``."""

    create_only = frozenset({"DashboardName"})

    def __init__(self, account: str, region: str) -> None:
        super().__init__(account, region)
        self.cloudwatch: Any = cloudwatch_backends[account][region]

    def create(self, name: str, properties: Properties) -> str:
        """PutDashboard, not over another one."""
        name = properties.get("DashboardName", name)
        if name in self.cloudwatch.dashboards:
            raise Failed(f"{name} already exists")
        self.cloudwatch.put_dashboard(name, properties["DashboardBody"])
        return name

    def modify(self, name: str, old: Properties, new: Properties) -> None:  # noqa: ARG002 (every kind is called alike)
        """PutDashboard over it."""
        self.cloudwatch.put_dashboard(name, new["DashboardBody"])

    def delete(self, name: str, final_snapshot: str | None) -> None:  # noqa: ARG002 (every kind is called alike)
        """DeleteDashboards."""
        self.cloudwatch.delete_dashboards([name])


class EventInvokeConfig(Kind):
    """``AWS::Lambda::EventInvokeConfig`` of a function, not of a version or an alias."""

    create_only = frozenset({"FunctionName", "Qualifier"})

    def __init__(self, account: str, region: str) -> None:
        super().__init__(account, region)
        self.lambdas: Any = lambda_backends[account][region]

    def create(self, name: str, properties: Properties) -> str:  # noqa: ARG002 (every kind is called alike)
        """PutFunctionEventInvokeConfig, where there is none."""
        function, qualifier = properties["FunctionName"], properties["Qualifier"]
        if qualifier != "$LATEST":
            raise Failed("the local cloud has neither versions nor aliases of functions")
        if self.lambdas.get_function(function).event_invoke_config:
            raise Failed(f"EventInvokeConfig already exists: {function}|{qualifier}")
        self._put(function, properties)
        return str(function)

    def modify(self, name: str, old: Properties, new: Properties) -> None:  # noqa: ARG002 (every kind is called alike)
        """PutFunctionEventInvokeConfig over it."""
        self._put(name, new)

    def delete(self, name: str, final_snapshot: str | None) -> None:  # noqa: ARG002 (every kind is called alike)
        """DeleteFunctionEventInvokeConfig; what went with its function need not be deleted."""
        if any(function.function_name == name for function in self.lambdas.list_functions()):
            self.lambdas.get_function(name).event_invoke_config = []

    def _put(self, name: str, properties: Properties) -> None:
        function = self.lambdas.get_function(name)
        target = properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        if target and not self._may_publish(function, target):
            raise Failed(
                f"The function's execution role does not have permissions to call Publish on {target}"
            )
        function.event_invoke_config = []  # to which moto would append
        given = {key: value for key, value in properties.items() if key not in self.create_only}
        self.lambdas.put_function_event_invoke_config(name, given)

    def _may_publish(self, function: Any, topic: str) -> bool:
        role = iam_backends[function.account_id]["aws"].get_role_by_arn(function.role)
        allowed = authorization.decide(identities.policies_of(role), "sns:Publish", topic)
        return allowed is authorization.Decision.ALLOWED


class LogGroup(Kind):
    """``AWS::Logs::LogGroup``."""

    create_only = frozenset({"LogGroupName"})

    def __init__(self, account: str, region: str) -> None:
        super().__init__(account, region)
        self.logs: Any = logs_backends[account][region]

    def create(self, name: str, properties: Properties) -> str:
        """CreateLogGroup and PutRetentionPolicy, not over another one."""
        name = properties.get("LogGroupName", name)
        self.logs.create_log_group(name, {})
        self.modify(name, {}, properties)
        return name

    def modify(self, name: str, old: Properties, new: Properties) -> None:  # noqa: ARG002 (every kind is called alike)
        """PutRetentionPolicy."""
        self.logs.put_retention_policy(name, new["RetentionInDays"])

    def delete(self, name: str, final_snapshot: str | None) -> None:  # noqa: ARG002 (every kind is called alike)
        """DeleteLogGroup."""
        self.logs.delete_log_group(name)

    def attribute(self, name: str, attribute: str) -> Any:
        """Its ARN, which means its streams, too."""
        if attribute != "Arn":
            return super().attribute(name, attribute)
        return f"{self.logs.groups[name].arn.removesuffix(':*')}:*"


ADDED: dict[str, type[Kind]] = {
    "AWS::CloudWatch::Alarm": Alarm,
    "AWS::CloudWatch::Dashboard": Dashboard,
    "AWS::Lambda::EventInvokeConfig": EventInvokeConfig,
    "AWS::Logs::LogGroup": LogGroup,
    "AWS::SNS::Subscription": Subscription,
    "AWS::SNS::Topic": Topic,
}


class StackResponse(CloudFormationResponse):
    """CloudFormation's API for whole stacks."""

    def create_stack(self) -> ActionResult:
        """CreateStack."""
        name = self._get_param("StackName")
        stacks = cloudformation_backends[self.current_account][self.region].stacks
        if any(stack.name == name for stack in stacks.values()):
            raise AlreadyExistsException(f"Stack [{name}] already exists")
        stack = MainStack(name, self.current_account, self.region)
        self._deploy(stack)
        stacks[stack.stack_id] = stack
        return ActionResult({"StackId": stack.stack_id})

    def update_stack(self) -> ActionResult:
        """UpdateStack."""
        stack = self.cloudformation_backend.get_stack(self._get_param("StackName"))
        if not isinstance(stack, MainStack):
            raise TypeError(f"the stack {stack.name} was not made here")
        self._deploy(stack)
        return ActionResult({"StackId": stack.stack_id})

    def delete_stack(self) -> EmptyResult:
        """DeleteStack; of one that is not there, nothing is done."""
        backend = self.cloudformation_backend
        for stack in list(backend.stacks.values()):
            if self._get_param("StackName") in (stack.name, stack.stack_id):
                stack.status = "DELETE_IN_PROGRESS"
                _soon(functools.partial(_delete, backend, stack))
        return EmptyResult()

    def continue_update_rollback(self) -> ActionResult:
        """ContinueUpdateRollback."""
        stack: Any = self.cloudformation_backend.get_stack(self._get_param("StackName"))
        try:
            stack.continue_rollback()
        except Failed as refusal:
            raise ValidationError(message=str(refusal)) from refusal
        return ActionResult({})

    def list_stack_resources(self) -> ActionResult:
        """ListStackResources, in pages; moto takes every resource for created with the stack."""
        stack: Any = self.cloudformation_backend.get_stack(self._get_param("StackName"))
        resources = list(stack.resources.values())
        start = int(self._get_param("NextToken") or 0)
        page = [
            {
                "LogicalResourceId": each.logical_resource_id,
                "PhysicalResourceId": each.physical_resource_id,
                "ResourceType": each.cf_resource_type,
                "ResourceStatus": each.status,
                "LastUpdatedTimestamp": each.updated,
            }
            for each in resources[start : start + _RESOURCES_A_PAGE]
        ]
        more = start + _RESOURCES_A_PAGE < len(resources)
        token = str(start + _RESOURCES_A_PAGE) if more else None
        return ActionResult({"StackResourceSummaries": page, "NextToken": token})

    def create_change_set(self) -> ActionResult:
        """CreateChangeSet, which moto would do on stacks of its own."""
        raise ValidationError(message="the local cloud knows no change sets")

    def _deploy(self, stack: MainStack) -> None:
        template = self._get_param("TemplateBody")
        parameters = self._get_param_values(self._get_param("Parameters", []), stack.given_before())
        if not stack.parse_template(template).get("Resources"):
            raise ValidationError(
                message="Template format error: At least one Resources member must be defined."
            )
        keep = self._get_param("RetainExceptOnCreate")
        try:
            carry_out = stack.begin(
                template, parameters, retain_except_on_create=str(keep).lower() == "true"
            )
        except Failed as refusal:
            raise ValidationError(message=str(refusal)) from refusal
        if carry_out is None:
            raise ValidationError(message="No updates are to be performed.")
        _soon(carry_out)


def _delete(backend: Any, stack: Any) -> None:
    stack.delete()
    if stack.status == "DELETE_COMPLETE":
        backend.deleted_stacks[stack.stack_id] = backend.stacks.pop(stack.stack_id)


def _soon(what: Callable[[], Any]) -> None:
    def run() -> None:
        what()
        _under_way.discard(timer)

    timer = threading.Timer(_takes["seconds"], run)
    timer.daemon = True
    _under_way.add(timer)
    timer.start()


def install() -> None:
    """Put these stacks in the place of moto's."""
    KINDS.update(ADDED)
    moto.cloudformation.urls.url_paths["{0}/$"] = StackResponse.dispatch


def reset() -> None:
    """Let nothing go on that belongs to what is forgotten now."""
    for timer in list(_under_way):
        timer.cancel()
        timer.join()
    _under_way.clear()
    CONTROLS.clear()
    _takes["seconds"] = _SECONDS


def _set_seconds(body: dict[str, Any]) -> dict[str, Any]:
    """PUT: how long an operation takes."""
    _takes["seconds"] = float(body["seconds"])
    return {}


def _patch_stack(body: dict[str, Any]) -> dict[str, Any]:
    """PATCH: how the stack's next roll-back goes."""
    CONTROLS[body.pop("name")] = body
    return {}


ROUTES = {("PUT", "/_cloud/stacks"): _set_seconds, ("PATCH", "/_cloud/stacks"): _patch_stack}
