"""Step Functions: the state machine that prepares a restored cluster."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.aws.errors import code_and_message, translate_errors
from chalicelib.domain.deployment import Preparation
from chalicelib.domain.errors import Refused
from chalicelib.domain.reasons import Reason

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

# What only a person can resolve. The next poll tries again all the same.
_REFUSALS = {
    "AccessDeniedException",
    "KmsAccessDeniedException",
    "KmsInvalidStateException",
    "StateMachineDeleting",
    "StateMachineDoesNotExist",
}


class StepFunctions:
    """The `StateMachines` port, with AwsError for whatever else fails."""

    def __init__(self, client: "SFNClient") -> None:
        self._client = client

    def start(self, machine: str, name: str, values: Mapping[str, object]) -> None:
        """https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html"""
        with translate_errors("StartExecution", machine, ignored="ExecutionAlreadyExists"):
            try:
                self._client.start_execution(
                    stateMachineArn=machine, name=name, input=json.dumps(values)
                )
            except ClientError as error:
                code, message = code_and_message(error)
                if code not in _REFUSALS:
                    raise
                refused = f"{machine} was not started: {code}: {message}"
                raise Refused(Reason.NOT_PREPARED, refused) from error

    def execution(self, machine: str, name: str) -> Preparation | None:
        arn = f"{machine.replace(':stateMachine:', ':execution:')}:{name}"
        with translate_errors("DescribeExecution", arn, ignored="ExecutionDoesNotExist"):
            # Input and output may be under a key that the function may not use.
            found = self._client.describe_execution(executionArn=arn, includedData="METADATA_ONLY")
            return Preparation(found["status"], arn)
        return None
