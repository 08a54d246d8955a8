"""A stack: created, updated and deleted, telling of each resource what became of it."""

import json
import time
from typing import Any

from botocore.exceptions import ClientError

from stage.account import Account, Say
from stage.config import StageError
from stage.stacks import BEFORE, Resource, Template, label, packaged_stacks, stack_name

_UPDATABLE = {
    "CREATE_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE",
    "IMPORT_COMPLETE",
    "IMPORT_ROLLBACK_COMPLETE",
}
_GOOD = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"}
# What is left of a creation that came to nothing: no update mends it, and nothing is in it.
_LEFT_OVER = {"ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"}
_BECAME = {
    "CREATE_COMPLETE": "created",
    "UPDATE_COMPLETE": "changed",
    "DELETE_COMPLETE": "deleted",
    "DELETE_SKIPPED": "kept",
}
_FIRST_LOOK, _SLOWEST_LOOK = 0.2, 5.0  # seconds
_STILL = 15.0  # seconds, after which a silent operation is told to go on


class Stack:
    """The stack of that name, in the account that the client is of; it tells ``say`` what it does."""

    def __init__(self, client: Any, name: str, say: Say) -> None:
        self._client = client
        self.name = name
        self._say = say

    def template(self) -> Template | None:
        """What it holds; None where there is no stack, or only one that never came about."""
        status = self._status(self.name)
        if status is None or status in _LEFT_OVER:
            return None
        body: Any = self._client.get_template(StackName=self.name)["TemplateBody"]
        template: Template = json.loads(body) if isinstance(body, str) else body
        return template

    def is_there(self) -> bool:
        """Whether there is one that came about."""
        return self._status(self.name) not in {None, *_LEFT_OVER}

    def deploy(self, template: Template) -> None:
        """Create or update it, and wait; raises StageError with the first resource's reason."""
        status, previous = self._status(self.name), self.template()
        if status in _LEFT_OVER:
            self._say(f"  {self.name} is {status}, left over from a failed creation: made anew")
            self._delete({})
            status = None
        elif status:
            self._check_updatable(status)
        known = self._newest_event() if status else ""
        given = {
            "StackName": self.name,
            "TemplateBody": json.dumps(template, separators=(",", ":")),
            # Else a failed creation would leave parameters behind that no stack holds.
            "RetainExceptOnCreate": True,
        }
        try:
            made = (self._client.update_stack if status else self._client.create_stack)(**given)
        except ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise
            told: set[str] = set()
        else:
            told = self._follow(made["StackId"], known, template, previous)
        for name, resource in template["Resources"].items():
            if name not in told:
                self._say(f"  unchanged  {label(resource)}")

    def delete(self) -> bool:
        """Delete it, and wait; returns whether it was there."""
        status = self._status(self.name)
        if status is None:
            return False
        if status.endswith("_IN_PROGRESS") and status not in _LEFT_OVER:
            self._check_updatable(status)
        self._delete((self.template() or {}).get("Resources", {}))
        return True

    def _delete(self, resources: dict[str, Resource]) -> None:
        stack_id = self._client.describe_stacks(StackName=self.name)["Stacks"][0]["StackId"]
        known = self._newest_event()
        self._client.delete_stack(StackName=stack_id)
        self._follow(stack_id, known, {"Resources": {}}, {"Resources": resources})

    def _check_updatable(self, status: str) -> None:
        if status in _UPDATABLE:
            return
        if status.endswith("_IN_PROGRESS"):
            raise StageError(
                f"the stack {self.name} is {status}: something else is working on it; wait until that "
                "has ended, and run this again"
            )
        if status == "UPDATE_ROLLBACK_FAILED":
            raise StageError(
                f"the stack {self.name} is {status}, from where it cannot be updated: "
                f"aws cloudformation continue-update-rollback --stack-name {self.name}, "
                "and then run this again"
            )
        raise StageError(
            f"the stack {self.name} is {status}, from where it cannot be updated: "
            f"aws cloudformation delete-stack --stack-name {self.name}, which keeps parameters and "
            "topic, and then run this again"
        )

    def _follow(
        self, stack_id: str, known: str, template: Template, previous: Template | None
    ) -> set[str]:
        """Wait until the operation has ended; the resources, by logical name, that it did something to."""
        course = _Course(stack_id, template, previous or {"Resources": {}})
        pause, begun, spoken = _FIRST_LOOK, time.monotonic(), time.monotonic()
        while True:
            # The status before the events: whatever has happened by then is among them.
            status = self._status(stack_id) or "DELETE_COMPLETE"
            events = self._events_after(stack_id, known)
            known = events[-1]["EventId"] if events else known
            for line in filter(None, map(course.line, events)):
                self._say(line)
                spoken = time.monotonic()
            if not status.endswith("_IN_PROGRESS"):
                break
            if time.monotonic() - spoken > _STILL:
                spoken = time.monotonic()
                self._say(f"  … {status} for {spoken - begun:.0f} s")
            time.sleep(pause)
            pause = min(pause * 2, _SLOWEST_LOOK)
        if status not in _GOOD:
            why = course.failure or course.rolled_back or "its events tell why"
            raise StageError(f"the stack {self.name} ended as {status}: {why}")
        if course.failure:
            # What was to be deleted after an update that is complete all the same.
            self._say(f"  note: {course.failure}")
        return course.done

    def _status(self, name: str) -> str | None:
        try:
            (stack,) = self._client.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        return str(stack["StackStatus"])

    def _newest_event(self) -> str:
        page = self._client.describe_stack_events(StackName=self.name)["StackEvents"]
        return str(page[0]["EventId"]) if page else ""

    def _events_after(self, stack_id: str, known: str) -> list[dict[str, Any]]:
        """Its events after the known one, oldest first."""
        found: list[dict[str, Any]] = []
        pages = self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id)
        for page in pages:
            for event in page["StackEvents"]:
                if event["EventId"] == known:
                    return found[::-1]
                found.append(event)
        return found[::-1]


def check_not_packaged(account: Account, say: Say) -> None:
    """Raises StageError where the stage's stacks are those of ``make package``, which only updates of them may change."""
    stage, client = account.stage.name, account.client("cloudformation")
    stacks = packaged_stacks(stage)
    functions = Stack(client, stacks["sam.json"], say)
    before = Stack(client, stack_name(stage, BEFORE), say).template() or {}
    if functions.is_there() or "Parameters" in before:
        raise StageError(
            f"stage {stage!r} was deployed from the templates of make package: go on with these, or delete "
            "its stacks, which keeps parameters, topic and logs:\n" + "\n".join(deletions(stage))
        )


def deletions(stage: str) -> list[str]:
    """The commands that delete the stacks of a packaged stage, each after those that it serves."""
    return [
        f"  aws cloudformation delete-stack --stack-name {stack} && \\\n"
        f"    aws cloudformation wait stack-delete-complete --stack-name {stack}"
        for stack in reversed(packaged_stacks(stage).values())
    ]


class _Course:
    """What an operation has done so far, as its events tell it.

    ``done`` are the resources, by logical name, that it did something to; ``failure`` is the first one's reason.
    """

    def __init__(self, stack_id: str, template: Template, previous: Template) -> None:
        self._stack_id = stack_id
        self._wanted: dict[str, Resource] = template["Resources"]
        self._old: dict[str, Resource] = previous["Resources"]
        self.done: set[str] = set()
        self.failure = self.rolled_back = ""

    def line(self, event: dict[str, Any]) -> str | None:
        """What people are to be told of the event, if anything."""
        name, state = event["LogicalResourceId"], event["ResourceStatus"]
        reason = event.get("ResourceStatusReason", "")
        if event.get("PhysicalResourceId") == self._stack_id:
            self.rolled_back = self.rolled_back or (reason if "ROLLBACK" in state else "")
            return None
        if state.endswith("_FAILED"):
            # Later ones are mostly of those that were cancelled because of the first.
            self.failure = self.failure or f"{event['ResourceType']} {name}: {reason}"
            return None
        new, old = self._wanted.get(name), self._old.get(name)
        resource = (old or new) if state.startswith("DELETE_") else new
        if self.failure or state not in _BECAME or resource is None:
            return None
        self.done.add(name)
        if state == "DELETE_SKIPPED" and not self._wanted:
            return None  # who deletes a stack tells what is left with what it holds
        return f"  {_BECAME[state]:<10} {label(resource)}"
