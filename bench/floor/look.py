"""What a restore and a follow-up look at: the stack, its cluster, the ledger and the runs."""

import os
from typing import Any

import boto3

cloudformation, rds = boto3.client("cloudformation"), boto3.client("rds")
ssm, codepipeline = boto3.client("ssm"), boto3.client("codepipeline")


def look(pipeline: str) -> Any:
    current, stack = os.environ["SSM_RDS_CURRENT_SNAPSHOT_NAME"], os.environ["RDS_STACK_NAME"]
    history = ssm.get_parameter_history(Name=current, MaxResults=50)["Parameters"]
    codepipeline.list_pipeline_executions(pipelineName=pipeline, maxResults=100)
    cloudformation.describe_stacks(StackName=stack)
    resources = cloudformation.list_stack_resources(StackName=stack)["StackResourceSummaries"]
    rds.describe_db_clusters(DBClusterIdentifier=resources[0]["PhysicalResourceId"])
    return history
