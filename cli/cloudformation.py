"""The states of a stack, and the commands that lead out of them."""

from cli.stacks import packaged_stacks

# Left by a creation that failed: it holds nothing and cannot be updated.
LEFT_OVER = {"ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"}


def way_out(stack: str, status: str) -> str:
    """Return the command that ends a failed state in which a stack cannot be updated."""
    if status == "UPDATE_ROLLBACK_FAILED":
        return _commands(stack, "continue-update-rollback", "wait stack-rollback-complete")
    return deletion(stack)


def deletion(stack: str) -> str:
    """Return the command that deletes a stack and waits."""
    return _commands(stack, "delete-stack", "wait stack-delete-complete")


def _commands(stack: str, *words: str) -> str:
    return " && ".join(f"aws cloudformation {each} --stack-name {stack}" for each in words)


def deletions(stage: str) -> str:
    """Return the commands that delete the stacks of a packaged stage, in order."""
    return "\n".join(f"  {deletion(each)}" for each in reversed(packaged_stacks(stage).values()))
