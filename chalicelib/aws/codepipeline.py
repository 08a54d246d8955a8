"""CodePipeline: the main pipeline, which deploys the infrastructure and restores from `current`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chalicelib.aws.errors import code_and_message, translate_errors
from chalicelib.domain.deployment import PREPARES_CHANGE_SET, Action, Position
from chalicelib.domain.errors import Refused
from chalicelib.domain.ledger import Run
from chalicelib.domain.reasons import Reason

if TYPE_CHECKING:
    from mypy_boto3_codepipeline import CodePipelineClient
    from mypy_boto3_codepipeline.type_defs import (
        ActionExecutionDetailTypeDef,
        PipelineExecutionSummaryTypeDef,
        StageStateTypeDef,
    )

# A run may wait for an approval for days while others begin and end.
RUNS_LISTED = timedelta(days=30)
_MOST_PAGES = 10  # of a hundred runs; more would take a function's time
_MOST_ACTION_PAGES = 3  # of a hundred; a pipeline without a deploy action has no end to find
_CHANGE_SET_PREPARED = "CHANGE_SET_REPLACE"
_CHANGE_SET_EXECUTED = "CHANGE_SET_EXECUTE"


class CodePipelines:
    """The `Pipelines` port, with AwsError for whatever fails."""

    def __init__(self, client: "CodePipelineClient") -> None:
        self._client = client

    def runs(self, name: str) -> list[Run]:
        """https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_ListPipelineExecutions.html"""
        found: list[Run] = []
        oldest = datetime.now(UTC) - RUNS_LISTED
        with self._translate("ListPipelineExecutions", name):
            pages = self._client.get_paginator("list_pipeline_executions").paginate(
                pipelineName=name, PaginationConfig={"PageSize": 100}
            )
            for page in islice(pages, _MOST_PAGES):
                found += map(_to_run, page["pipelineExecutionSummaries"])
                if found and found[-1].started < oldest:
                    break
        # As CodePipeline lists them, but it promises no order.
        return sorted(found, key=lambda each: each.started, reverse=True)

    def actions(self, name: str, execution_id: str | None = None) -> list[Action]:
        """https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_ListActionExecutions.html"""
        of_run: Any = {"filter": {"pipelineExecutionId": execution_id}} if execution_id else {}
        pages = self._client.get_paginator("list_action_executions").paginate(
            pipelineName=name, **of_run
        )
        found: list[Action] = []
        # CodePipeline may not know a run yet that it has just listed.
        unknown = "PipelineExecutionNotFoundException"
        with self._translate("ListActionExecutions", name, ignored=unknown):
            for page in islice(pages, None if execution_id else _MOST_ACTION_PAGES):
                details = page["actionExecutionDetails"]
                found += [_to_action(detail) for detail in details if "startTime" in detail]
                # More recent actions than a page has may hide what was deployed last, and when it was read.
                if not execution_id and any(
                    each.category == "Deploy"
                    and each.status != "Failed"
                    and _reads_since(each, found)
                    for each in found
                ):
                    break
        found.sort(key=lambda each: each.started, reverse=True)
        return [
            each._replace(reads_since=_reads_since(each, found) or each.started) for each in found
        ]

    def positions(self, name: str) -> Mapping[str, Position]:
        """https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_GetPipelineState.html"""
        with self._translate("GetPipelineState", name):
            stages = self._client.get_pipeline_state(name=name)["stageStates"]
        return {run: position for stage in stages for run, position in _positions_in(stage)}

    def start(self, name: str, token: str) -> str:
        """https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_StartPipelineExecution.html"""
        with self._translate("StartPipelineExecution", name):
            return self._client.start_pipeline_execution(name=name, clientRequestToken=token)[
                "pipelineExecutionId"
            ]

    @contextmanager
    def _translate(
        self, operation: str, name: str, *, ignored: str | None = None
    ) -> Iterator[None]:
        with translate_errors(operation, f"pipeline {name}", ignored=ignored):
            try:
                yield
            except ClientError as error:
                if code_and_message(error)[0] != "PipelineNotFoundException":
                    raise
                message = f"there is no pipeline named {name}"
                raise Refused(Reason.PIPELINE_MISSING, message) from error


def _reads_since(action: Action, found: Sequence[Action]) -> datetime | None:
    """Return when an action, or the preparation of the change set that it executes, began.

    None if that preparation is not listed. A retried stage prepares the change set again.
    """
    if action.reads_since:
        return action.reads_since
    prepared = (
        each.started
        for each in found
        if each.category == PREPARES_CHANGE_SET
        and _target(each) == _target(action)
        and each.started <= action.started
    )
    return max(prepared, default=None)


def _to_run(summary: "PipelineExecutionSummaryTypeDef") -> Run:
    # Both times are optional in the API's model: a run without them has only just been created.
    started = summary.get("startTime") or datetime.now(UTC)
    return Run(
        summary["pipelineExecutionId"],
        summary["status"],
        started,
        summary.get("lastUpdateTime") or started,
        summary.get("trigger", {}).get("triggerType"),
        summary.get("executionType") == "ROLLBACK",
    )


def _to_action(detail: "ActionExecutionDetailTypeDef") -> Action:
    """Convert an action execution; when one that executes a change set reads is not known yet."""
    given = detail.get("input", {})
    configuration = {**given.get("configuration", {}), **given.get("resolvedConfiguration", {})}
    mode, role = configuration.get("ActionMode"), given.get("roleArn")
    category = given.get("actionTypeId", {}).get("category", "")
    started = detail["startTime"]
    return Action(
        execution_id=detail["pipelineExecutionId"],
        stage=detail["stageName"],
        name=detail["actionName"],
        status=detail["status"],
        started=started,
        updated=detail.get("lastUpdateTime") or started,
        category=PREPARES_CHANGE_SET if mode == _CHANGE_SET_PREPARED else category,
        stack=configuration.get("StackName"),
        reads_since=None if mode == _CHANGE_SET_EXECUTED else started,
        # The role that CodePipeline assumes for an action is in the account of what it deploys.
        account=role.split(":")[4] if role else None,
        region=given.get("region"),
    )


def _target(action: Action) -> tuple[str | None, ...]:
    """Return what identifies a change set: its run, and its stack, account and Region."""
    return action.execution_id, action.stack, action.account, action.region


def _positions_in(stage: "StageStateTypeDef") -> Iterator[tuple[str, Position]]:
    name = stage["stageName"]
    is_open = stage.get("inboundTransitionState", {}).get("enabled", True)
    waits_for = "an earlier run" if is_open else "a disabled transition"
    for waiting in stage.get("inboundExecutions", []):
        yield waiting["pipelineExecutionId"], Position(name, waits_for=waits_for)
    latest = stage.get("latestExecution")
    if latest and latest["status"] in ("InProgress", "Stopping"):
        running = (
            Position(
                name,
                state["actionName"],
                execution.get("lastStatusChange"),
                # Only an approval action has a token.
                "approval" if "token" in execution else None,
            )
            for state in stage.get("actionStates", [])
            if (execution := state.get("latestExecution", {})).get("status") == "InProgress"
        )
        yield latest["pipelineExecutionId"], next(running, Position(name))
