"""The states of a stack, and the commands that lead out of them."""

from cli.stacks import packaged_stacks

# Left by a creation that failed: it holds nothing and cannot be updated.
LEFT_OVER = {"ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"}
_NEXT_LINE = " && \\\n    "  # of a command


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
