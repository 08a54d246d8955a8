"""Create, update and delete a stack, and report each resource's outcome."""

import json
import time
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from cli.account import Account, Say
from cli.calls import Calls
from cli.stacks import Resource, Template, label, own_stacks, packaged_stacks
from cli.stages import Stage, StageError

UPDATABLE = {
    "CREATE_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE",
    "IMPORT_COMPLETE",
    "IMPORT_ROLLBACK_COMPLETE",
}
_GOOD = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"}
# Left by a creation that failed: it holds nothing and cannot be updated.
LEFT_OVER = {"ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"}
_NEXT_LINE = " && \\\n    "  # of a command
_DONE = {"create": "created", "change": "changed", "delete": "deleted", "keep": "kept"}
_FIRST_LOOK, _SLOWEST_LOOK = 0.2, 5.0  # seconds
_QUIET = 15.0  # seconds after which a line says that it still runs


class Stack:
    """The stack of that name in an account; it reports to `say` what it does."""

    def __init__(self, calls: Calls, name: str, say: Say) -> None:
        self._calls = calls
        self.name = name
        self._say = say

    def template(self) -> Template | None:
        """Return its template; None if there is no stack, or only a failed creation."""
        return self._template() if self.exists() else None

    def exists(self) -> bool:
        """Return whether the stack exists, and not only a failed creation."""
        return self._status(self.name) not in {None, *LEFT_OVER}

    def deploy(self, template: Template) -> None:
        """Create or update it and wait; raise StageError with the first failed resource's reason."""
        status = self._status(self.name)
        if status in LEFT_OVER:
            self._say(f"  {self.name} is {status}, left by a failed creation: creating it again")
            self._delete()
            status = None
        elif status:
            self._check_updatable(status)
        known, old = (self._newest_event(), self._template()) if status else ("", None)
        given: dict[str, Any] = {
            "StackName": self.name,
            "TemplateBody": json.dumps(template, separators=(",", ":")),
            # Otherwise a failed creation would leave parameters that no stack holds.
            "RetainExceptOnCreate": True,
        }
        failed, changes = set[str](), [*_changes(old, template)]
        try:
            action = "UpdateStack" if status else "CreateStack"
            made = self._calls.call(f"cloudformation:{action}", **given)
        except ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise
            changes = [(name, "unchanged", resource) for name, _, resource in changes]
        else:
            failed = self._wait(made["StackId"], known)
        for name, change, resource in changes:
            if name not in failed:
                self._say(f"  {_DONE.get(change, change):<10} {label(resource)}")

    def plan(self, template: Template) -> None:
        """Say what `deploy` would do to each resource."""
        for _, change, resource in _changes(self.template(), template):
            self._say(f"  {change:<10} {label(resource)}")

    def delete(self) -> bool:
        """Delete it and wait; return whether it existed."""
        status = self._status(self.name)
        if status is None:
            return False
        if status.endswith("_IN_PROGRESS") and status not in LEFT_OVER:
            self._check_updatable(status)
        old = None if status in LEFT_OVER else self._template()
        self._delete()
        for _, change, resource in _changes(old, {"Resources": {}}):
            if change == "delete":  # `aurora-refresh destroy` reports what is kept, with its value
                self._say(f"  deleted    {label(resource)}")
        return True

    def _delete(self) -> None:
        stack_id = self._look("DescribeStacks", "Stacks[0].StackId", self.name)
        known = self._newest_event()
        self._calls.call("cloudformation:DeleteStack", StackName=stack_id)
        self._wait(stack_id, known)

    def _template(self) -> Template:
        body = self._look("GetTemplate", "TemplateBody", self.name)
        template: Template = json.loads(body) if isinstance(body, str) else body
        return template

    def _check_updatable(self, status: str) -> None:
        if status in UPDATABLE:
            return
        if status.endswith("_IN_PROGRESS"):
            raise StageError(
                f"the stack {self.name} is {status}: wait until that operation has ended, and run this "
                "again"
            )
        raise StageError(
            f"the stack {self.name} is {status} and cannot be updated: {way_out(self.name, status)} (this keeps "
            "parameters and topic), and then run this again"
        )

    def _wait(self, stack_id: str, known: str) -> set[str]:
        """Wait until the operation has ended; return what it could not delete; raise StageError."""
        pause, begun = _FIRST_LOOK, time.monotonic()
        spoken = begun
        while (status := self._status(stack_id) or "DELETE_COMPLETE").endswith("_IN_PROGRESS"):
            if (now := time.monotonic()) - spoken > _QUIET:
                self._say(f"  … {status} for {now - begun:.0f} s")
                spoken = now
            time.sleep(pause)
            pause = min(pause * 2, _SLOWEST_LOOK)
        failed, rolled_back = self._failures(stack_id, known)
        if status not in _GOOD:
            why = next(iter(failed.values()), rolled_back) or "see its events"
            raise StageError(f"the stack {self.name} ended as {status}: {why}")
        # After a completed update, what has failed is to delete resources.
        for why in failed.values():
            self._say(f"  note: {why}")
        return {*failed}

    def _status(self, name: str) -> str | None:
        status: str | None = self._look("DescribeStacks", "Stacks[0].StackStatus", name)
        return status

    def _newest_event(self) -> str:
        return self._look("DescribeStackEvents", "StackEvents[0].EventId", self.name) or ""

    def _look(self, operation: str, path: str, name: str) -> Any:
        """Return a part of the answer about a stack; None if that or the stack does not exist."""
        return self._calls.one(f"cloudformation:{operation}", path, StackName=name)

    def _failures(self, stack_id: str, known: str) -> tuple[dict[str, str], str]:
        """Return the failures after the known event, the first one first, and the stack's own reason.

        Later failures are mostly consequences of the first.
        """
        failures, rolled_back = list[tuple[str, str]](), ""
        client = self._calls.client("cloudformation")
        pages = client.get_paginator("describe_stack_events").paginate(StackName=stack_id)
        for event in pages.search("StackEvents[]"):  # the newest first
            state, reason = event["ResourceStatus"], event.get("ResourceStatusReason", "")
            if event["EventId"] == known:
                break
            if event.get("PhysicalResourceId") == stack_id:
                rolled_back = reason if "ROLLBACK" in state and reason else rolled_back
            elif state.endswith("_FAILED"):
                name = event["LogicalResourceId"]
                failures.append((name, f"{event['ResourceType']} {name}: {reason}"))
        failed: dict[str, str] = {}
        for name, why in reversed(failures):  # one may fail again while it is rolled back
            failed.setdefault(name, why)
        return failed, rolled_back


def _changes(old: Template | None, new: Template) -> Iterator[tuple[str, str, Resource]]:
    """Yield each resource's name and what an update does to it: create, change, unchanged, delete, keep."""
    before, after = (old or {"Resources": {}})["Resources"], new["Resources"]
    for name, resource in after.items():
        change = "change" if name in before else "create"
        yield name, "unchanged" if before.get(name) == resource else change, resource
    for name, resource in before.items():
        if name not in after:
            is_kept = resource.get("DeletionPolicy") == "Retain"
            yield name, "keep" if is_kept else "delete", resource


def opened(stage: Stage, say: Say) -> tuple[Account, Stack, Stack]:
    """Return the stage's account and its stacks before and after; raise StageError.

    It raises if the stage was deployed from the templates of `aurora-refresh package`.
    """
    account = Account(stage)
    say(f"stage {stage.name}, account {stage.account}, {stage.region}, as {account.check()}")
    before, after = (Stack(account, each, say) for each in own_stacks(stage))
    functions = Stack(account, packaged_stacks(stage.name)["sam.json"], say)
    if functions.exists() or "Parameters" in (before.template() or {}):
        raise StageError(
            f"stage {stage.name!r} was deployed from the templates of aurora-refresh package: use these again, or "
            "delete its stacks, which keeps parameters, topic and logs:\n"
            + "\n".join(deletions(stage.name))
        )
    return account, before, after


def way_out(stack: str, status: str) -> str:
    """Return the command that ends a failed state in which a stack cannot be updated."""
    if status == "UPDATE_ROLLBACK_FAILED":
        return _commands(stack, "continue-update-rollback", "wait stack-rollback-complete")
    return deletion(stack)


def deletion(stack: str, then: str = " && ") -> str:
    """Return the command that deletes a stack and waits."""
    return _commands(stack, "delete-stack", "wait stack-delete-complete", then=then)


def _commands(stack: str, *words: str, then: str = " && ") -> str:
    return then.join(f"aws cloudformation {each} --stack-name {stack}" for each in words)


def deletions(stage: str) -> list[str]:
    """Return the commands that delete the stacks of a packaged stage, in order."""
    stacks = reversed(packaged_stacks(stage).values())
    return [f"  {deletion(stack, then=_NEXT_LINE)}" for stack in stacks]
