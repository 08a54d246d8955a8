"""Create, update and delete a stack, and report each resource's outcome."""

import json
import time
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from cli.account import Account, Say
from cli.stacks import BEFORE, Resource, Template, label, packaged_stacks, stack_name
from cli.stages import StageError

_UPDATABLE = {
    "CREATE_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE",
    "IMPORT_COMPLETE",
    "IMPORT_ROLLBACK_COMPLETE",
}
_GOOD = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"}
# Left by a creation that failed: it holds nothing and cannot be updated.
_LEFT_OVER = {"ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"}
_OUTCOMES = {
    "CREATE_COMPLETE": "created",
    "UPDATE_COMPLETE": "changed",
    "DELETE_COMPLETE": "deleted",
    "DELETE_SKIPPED": "kept",
}
_FIRST_LOOK, _SLOWEST_LOOK = 0.2, 5.0  # seconds
_QUIET = 15.0  # seconds without an event, after which a line says that it still goes on


class Stack:
    """The stack of that name in the client's account; it reports to `say` what it does."""

    def __init__(self, client: Any, name: str, say: Say) -> None:
        self._client = client
        self.name = name
        self._say = say

    def template(self) -> Template | None:
        """Return its template; None if there is no stack, or only a failed creation."""
        status = self._status(self.name)
        if status is None or status in _LEFT_OVER:
            return None
        body: Any = self._client.get_template(StackName=self.name)["TemplateBody"]
        template: Template = json.loads(body) if isinstance(body, str) else body
        return template

    def exists(self) -> bool:
        """Return whether the stack exists, and not only a failed creation."""
        return self._status(self.name) not in {None, *_LEFT_OVER}

    def deploy(self, template: Template) -> None:
        """Create or update it and wait; raise StageError with the first failed resource's reason."""
        status, previous = self._status(self.name), self.template()
        if status in _LEFT_OVER:
            self._say(f"  {self.name} is {status}, left by a failed creation: creating it again")
            self._delete({})
            status = None
        elif status:
            self._check_updatable(status)
        known = self._newest_event() if status else ""
        given = {
            "StackName": self.name,
            "TemplateBody": json.dumps(template, separators=(",", ":")),
            # Otherwise a failed creation would leave parameters that no stack holds.
            "RetainExceptOnCreate": True,
        }
        try:
            made = (self._client.update_stack if status else self._client.create_stack)(**given)
        except ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise
            touched: set[str] = set()
        else:
            touched = self._follow(made["StackId"], known, template, previous)
        for name, resource in template["Resources"].items():
            if name not in touched:
                self._say(f"  unchanged  {label(resource)}")

    def plan(self, template: Template) -> Iterator[str]:
        """Yield what `deploy` would do to each resource."""
        old, new = (self.template() or {"Resources": {}})["Resources"], template["Resources"]
        for name, resource in new.items():
            change = "create" if name not in old else "change"
            yield f"  {'unchanged' if old.get(name) == resource else change:<10} {label(resource)}"
        for name in old.keys() - new.keys():
            kept = old[name].get("DeletionPolicy") == "Retain"
            yield f"  {'keep' if kept else 'delete':<10} {label(old[name])}"

    def delete(self) -> bool:
        """Delete it and wait; return whether it existed."""
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
                f"the stack {self.name} is {status}: wait until that operation has ended, and run this "
                "again"
            )
        if status == "UPDATE_ROLLBACK_FAILED":
            raise StageError(
                f"the stack {self.name} is {status} and cannot be updated: "
                f"aws cloudformation continue-update-rollback --stack-name {self.name}, "
                "and then run this again"
            )
        raise StageError(
            f"the stack {self.name} is {status} and cannot be updated: "
            f"aws cloudformation delete-stack --stack-name {self.name}, which keeps parameters and "
            "topic, and then run this again"
        )

    def _follow(
        self, stack_id: str, known: str, template: Template, previous: Template | None
    ) -> set[str]:
        """Wait until the operation has ended; return the logical names of the resources it changed."""
        progress = _Progress(stack_id, template, previous or {"Resources": {}})
        pause, begun, spoken = _FIRST_LOOK, time.monotonic(), time.monotonic()
        while True:
            # Ask for the status before the events, so that these are complete.
            status = self._status(stack_id) or "DELETE_COMPLETE"
            events = self._events_after(stack_id, known)
            known = events[-1]["EventId"] if events else known
            for line in filter(None, map(progress.line, events)):
                self._say(line)
                spoken = time.monotonic()
            if not status.endswith("_IN_PROGRESS"):
                break
            if time.monotonic() - spoken > _QUIET:
                spoken = time.monotonic()
                self._say(f"  … {status} for {spoken - begun:.0f} s")
            time.sleep(pause)
            pause = min(pause * 2, _SLOWEST_LOOK)
        if status not in _GOOD:
            why = progress.failure or progress.rolled_back or "see its events"
            raise StageError(f"the stack {self.name} ended as {status}: {why}")
        if progress.failure:
            # A resource that could not be deleted after a completed update.
            self._say(f"  note: {progress.failure}")
        return progress.done

    def _status(self, name: str) -> str | None:
        try:
            (stack,) = self._client.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):  # a ValidationError as any other
                return None
            raise
        return str(stack["StackStatus"])

    def _newest_event(self) -> str:
        page = self._client.describe_stack_events(StackName=self.name)["StackEvents"]
        return str(page[0]["EventId"]) if page else ""

    def _events_after(self, stack_id: str, known: str) -> list[dict[str, Any]]:
        """Return its events after the known one, oldest first."""
        found: list[dict[str, Any]] = []
        pages = self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id)
        for page in pages:
            for event in page["StackEvents"]:
                if event["EventId"] == known:
                    return found[::-1]
                found.append(event)
        return found[::-1]


def check_not_packaged(account: Account, say: Say) -> None:
    """Raise StageError if the stage was deployed from the templates of `aurora-refresh package`."""
    stage, client = account.stage.name, account.client("cloudformation")
    stacks = packaged_stacks(stage)
    functions = Stack(client, stacks["sam.json"], say)
    before = Stack(client, stack_name(stage, BEFORE), say).template() or {}
    if functions.exists() or "Parameters" in before:
        raise StageError(
            f"stage {stage!r} was deployed from the templates of aurora-refresh package: use these again, or delete "
            "its stacks, which keeps parameters, topic and logs:\n" + "\n".join(deletions(stage))
        )


def deletions(stage: str) -> list[str]:
    """Return the commands that delete the stacks of a packaged stage, in order."""
    return [
        f"  aws cloudformation delete-stack --stack-name {stack} && \\\n"
        f"    aws cloudformation wait stack-delete-complete --stack-name {stack}"
        for stack in reversed(packaged_stacks(stage).values())
    ]


class _Progress:
    """What an operation has done so far, according to its events.

    `done` has the logical names of the resources it changed, `failure` the first failure's reason.
    """

    def __init__(self, stack_id: str, template: Template, previous: Template) -> None:
        self._stack_id = stack_id
        self._wanted: dict[str, Resource] = template["Resources"]
        self._old: dict[str, Resource] = previous["Resources"]
        self.done: set[str] = set()
        self.failure = self.rolled_back = ""

    def line(self, event: dict[str, Any]) -> str | None:
        """Return the line that reports the event; None if it is not worth one."""
        name, state = event["LogicalResourceId"], event["ResourceStatus"]
        reason = event.get("ResourceStatusReason", "")
        if event.get("PhysicalResourceId") == self._stack_id:
            self.rolled_back = self.rolled_back or (reason if "ROLLBACK" in state else "")
            return None
        if state.endswith("_FAILED"):
            # Later failures are mostly cancellations because of the first one.
            self.failure = self.failure or f"{event['ResourceType']} {name}: {reason}"
            return None
        new, old = self._wanted.get(name), self._old.get(name)
        resource = (old or new) if state.startswith("DELETE_") else new
        if self.failure or state not in _OUTCOMES or resource is None:
            return None
        self.done.add(name)
        if state == "DELETE_SKIPPED" and not self._wanted:
            return None  # `aurora-refresh destroy` reports what is kept, with its value
        return f"  {_OUTCOMES[state]:<10} {label(resource)}"
