"""Call AWS by the names of IAM actions, and select a part of the answer."""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache, partial
from time import monotonic, sleep
from typing import Any, TypeVar

import boto3
import jmespath  # type: ignore[import-untyped]
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

from chalicelib.aws.errors import code_and_message

_CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=5)
_POLL_SECONDS = 2.0
_PATIENCE = 1_200.0  # seconds
_API_SECONDS = 60.0  # of which API Gateway admits a deletion every 30
ROLE_SECONDS = 60.0  # until every service knows a new role
# The services that IAM and boto3 name differently.
_SERVICES = {"states": "stepfunctions"}
# What the codes of errors for something that does not exist contain.
_ABSENT = re.compile("NotFound|NoSuch|NotExist|NonExist")

T = TypeVar("T")


class Calls:
    """Calls with a session, in one Region unless another one is named."""

    def __init__(self, session: boto3.Session, region: str) -> None:
        self.session = session
        self._region = region
        self._client: Any = cache(partial(session.client, config=_CONFIG))

    def client(self, service: str, region: str | None = None) -> Any:
        """Return the client of a service, as IAM names it."""
        return self._client(_SERVICES.get(service, service), region_name=region or self._region)

    def call(self, action: str, region: str | None = None, **given: Any) -> Any:
        """Return the answer to a call."""
        service, operation = action.split(":")
        return getattr(self.client(service, region), xform_name(operation))(**given)

    def delete(self, action: str, **named: Any) -> bool:
        """Delete something; return whether it existed."""
        return self.one(action, "@", **named) is not None

    def one(self, action: str, path: str, region: str | None = None, **given: Any) -> Any:
        """Return a part of the answer to a call; None if it, or the resource, does not exist."""
        with _absent_ignored(action):
            return jmespath.search(path, self.call(action, region, **given))
        return None

    def all(self, action: str, path: str, region: str | None = None, **given: Any) -> list[Any]:
        """Return a part of the answers to a call, from all their pages; nothing of what does not exist."""
        service, operation = action.split(":")
        pages = self.client(service, region).get_paginator(xform_name(operation)).paginate(**given)
        with _absent_ignored(action):
            return [each for each in pages.search(path) if each is not None]  # AWS may omit a list
        return []

    def wait(self, service: str, waiter: str, **named: str) -> None:
        """Wait for up to 20 minutes as boto3's waiters do; raise WaiterError."""
        often = {"Delay": _POLL_SECONDS, "MaxAttempts": int(_PATIENCE / _POLL_SECONDS)}
        self.client(service).get_waiter(waiter).wait(**named, WaiterConfig=often)

    def delete_rest_api(self, api: str) -> None:
        """Delete a REST API, if it exists: AWS allows one deletion in 30 seconds.

        https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
        """
        delete = partial(self.delete, "apigateway:DeleteRestApi", restApiId=api)
        wait_for(lambda: (delete(),), _API_SECONDS, {"TooManyRequestsException"})

    def delete_stack(self, name: str) -> None:
        """Delete a stack, if it exists, and wait; raise WaiterError."""
        self.delete("cloudformation:DeleteStack", StackName=name)
        self.wait("cloudformation", "stack_delete_complete", StackName=name)

    def delete_rule(self, name: str) -> None:
        """Delete an EventBridge rule, if it exists, and its targets."""
        if targets := self.all("events:ListTargetsByRule", "Targets[].Id", Rule=name):
            self.delete("events:RemoveTargets", Rule=name, Ids=targets)
        self.delete("events:DeleteRule", Name=name)

    def delete_role(self, name: str) -> None:
        """Detach a role's managed policies, and delete it, if it exists."""
        for policy in self.all("iam:ListRolePolicies", "PolicyNames[]", RoleName=name):
            self.delete("iam:DeleteRolePolicy", RoleName=name, PolicyName=policy)
        path = "AttachedPolicies[].PolicyArn"
        for arn in self.all("iam:ListAttachedRolePolicies", path, RoleName=name):
            self.delete("iam:DetachRolePolicy", RoleName=name, PolicyArn=arn)
        self.delete("iam:DeleteRole", RoleName=name)


def wait_for(look: Callable[[], T], seconds: float = _PATIENCE, busy: Collection[str] = ()) -> T:
    """Look until something is found, and while AWS refuses with one of these codes.

    After these seconds, return what was found last, or raise the last refusal.
    """
    deadline = monotonic() + seconds
    while True:
        is_late = monotonic() > deadline
        try:
            if (found := look()) or is_late:
                return found
        except ClientError as error:
            if is_late or code_and_message(error)[0] not in busy:
                raise
        sleep(_POLL_SECONDS)


@contextmanager
def _absent_ignored(action: str) -> Iterator[None]:
    """End the block if AWS says that the resource does not exist."""
    try:
        yield
    except ClientError as error:
        code, message = code_and_message(error)
        # CloudFormation has no code of its own for it.
        is_stack = action.startswith("cloudformation:") and "does not exist" in message
        if not _ABSENT.search(code) and not (is_stack and code == "ValidationError"):
            raise
