"""CloudFormation: the stack in which the main pipeline deploys a database."""

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.aws.errors import code_and_message, translate_errors
from chalicelib.domain.deployment import Stack

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

_CLUSTER_TYPES = ("AWS::RDS::DBCluster", "AWS::DocDB::DBCluster", "AWS::Neptune::DBCluster")


class CloudFormationStacks:
    """The `Stacks` port.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html
    """

    def __init__(self, client: "CloudFormationClient") -> None:
        self._client = client

    def find(self, name: str) -> Stack | None:
        """Return the stack of that name with its DB clusters; raise AwsError."""
        with translate_errors("DescribeStacks", f"stack {name}"):
            try:
                (stack,) = self._client.describe_stacks(StackName=name)["Stacks"]
            except ClientError as error:
                # A ValidationError whose message is the only sign of a missing stack.
                if "does not exist" not in code_and_message(error)[1]:
                    raise
                return None
        pages = self._client.get_paginator("list_stack_resources").paginate(StackName=name)
        with translate_errors("ListStackResources", f"stack {name}"):
            resources = [each for page in pages for each in page["StackResourceSummaries"]]
        return Stack(
            status=stack["StackStatus"],
            clusters={
                each["LogicalResourceId"]: each["PhysicalResourceId"]
                for each in resources
                if each["ResourceType"] in _CLUSTER_TYPES
                and each["ResourceStatus"] != "DELETE_COMPLETE"
                and each.get("PhysicalResourceId")
            },
            # Only parameters of an SSM type have a resolved value.
            resolved={
                each["ParameterValue"]: each["ResolvedValue"]
                for each in stack.get("Parameters", [])
                if "ResolvedValue" in each
            },
            # The same name may be that of another stack elsewhere.
            arn=stack.get("StackId", ""),
        )
