"""The floor: plain boto3 that makes each function's AWS calls, and nothing else."""

import os
from functools import cache, partial
from typing import Any

import boto3

client = cache(boto3.client)

_PARAMETERS = ("ssm", "get_parameters", {"Names": ["a"]})
_HISTORY = ("ssm", "get_parameter_history", {"Name": "a"})
_PUT = ("ssm", "put_parameter", {"Name": "a", "Value": "b"})
_LABEL = (
    ("ssm", "label_parameter_version", {"Name": "a", "ParameterVersion": 2, "Labels": ["b"]}),
    _HISTORY,
)
_SNAPSHOT = ("rds", "describe_db_cluster_snapshots", {"DBClusterSnapshotIdentifier": "a"})
_RUNS = ("codepipeline", "list_pipeline_executions", {"pipelineName": "a"})
_ACTIONS = ("codepipeline", "list_action_executions", {"pipelineName": "a"})
_START = ("codepipeline", "start_pipeline_execution", {"name": "a"})
_NOTIFY = ("sns", "publish", {"TopicArn": "a", "Subject": "b", "Message": "c"})
# The calls that show what is deployed, and whether a run is about to change it.
_LOOK = (
    _HISTORY,
    _RUNS,
    ("cloudformation", "describe_stacks", {"StackName": "a"}),
    ("cloudformation", "list_stack_resources", {"StackName": "a"}),
    ("rds", "describe_db_clusters", {"DBClusterIdentifier": "a"}),
)


def _make(calls: list[tuple[str, str, dict[str, Any]]], _event: object, _context: object) -> None:
    for service, operation, arguments in calls:
        getattr(client(service), operation)(**arguments)


restore = partial(_make, [_PARAMETERS, _SNAPSHOT, *_LOOK, _PUT, _START])
follow = partial(_make, [_PARAMETERS, *_LOOK, _ACTIONS, *_LABEL, _NOTIFY, *_LABEL])
reconcile = partial(_make, [_PARAMETERS, *_LOOK])
pin = partial(_make, [_PARAMETERS, _SNAPSHOT, _HISTORY, _PUT, _RUNS])


def update(_event: object, _context: object) -> str:
    """Find the newest share on all pages, and put its ARN."""
    listing = client("rds").get_paginator("describe_db_cluster_snapshots")
    shares = (
        snapshot
        for page in listing.paginate(SnapshotType="shared", PaginationConfig={"PageSize": 100})
        for snapshot in page["DBClusterSnapshots"]
        if snapshot["Status"] == "available"
        and snapshot["Engine"] == os.environ["RDS_ENGINE"]
        and snapshot["EngineVersion"].startswith(os.environ["RDS_ENGINE_VERSION"])
        and snapshot["DBClusterIdentifier"] == os.environ["RDS_SOURCE_CLUSTER"]
    )
    newest: str = max(shares, key=lambda each: each["SnapshotCreateTime"])["DBClusterSnapshotArn"]
    _make([_PARAMETERS, _PUT], None, None)
    return newest
