"""CodePipeline: the main pipeline, which deploys the infrastructure and restores from `current`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from chalicelib.aws.errors import translate_errors
from chalicelib.domain.errors import Refused
from chalicelib.domain.ledger import Run

if TYPE_CHECKING:
    from mypy_boto3_codepipeline import CodePipelineClient


class CodePipelines:
    """The `Pipelines` port.

    https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_StartPipelineExecution.html
    """

    def __init__(self, client: "CodePipelineClient") -> None:
        self._client = client

    def runs(self, name: str) -> list[Run]:
        """Return the hundred most recent runs, newest first; raise AwsError and Refused."""
        with self._translate("ListPipelineExecutions", name):
            listed = self._client.list_pipeline_executions(pipelineName=name, maxResults=100)
        return [
            Run(run["pipelineExecutionId"], run["status"], run["startTime"], run["lastUpdateTime"])
            for run in listed["pipelineExecutionSummaries"]
        ]

    def start(self, name: str, token: str) -> str:
        """Start a run, once for each token, and return its id; raise AwsError and Refused."""
        with self._translate("StartPipelineExecution", name):
            return self._client.start_pipeline_execution(name=name, clientRequestToken=token)[
                "pipelineExecutionId"
            ]

    @contextmanager
    def _translate(self, operation: str, name: str) -> Iterator[None]:
        with translate_errors(operation, f"pipeline {name}"):
            try:
                yield
            except self._client.exceptions.PipelineNotFoundException as error:
                raise Refused("pipeline-missing", f"there is no pipeline named {name}") from error
