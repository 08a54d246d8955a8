import os

import boto3

rds, ssm = boto3.client("rds"), boto3.client("ssm")


def handler(_event: object, _context: object) -> dict[str, object]:
    pages = rds.get_paginator("describe_db_cluster_snapshots").paginate(
        SnapshotType="shared", PaginationConfig={"PageSize": 100}
    )
    newest = max(
        (
            snapshot
            for page in pages
            for snapshot in page["DBClusterSnapshots"]
            if snapshot["Status"] == "available"
            and snapshot["Engine"] == os.environ["RDS_ENGINE"]
            and snapshot["EngineVersion"].startswith(os.environ["RDS_ENGINE_VERSION"])
            and snapshot["DBClusterIdentifier"] == os.environ["RDS_SOURCE_CLUSTER"]
        ),
        key=lambda snapshot: snapshot["SnapshotCreateTime"],
    )["DBClusterSnapshotArn"]
    name = os.environ["SSM_RDS_LATEST_SNAPSHOT_NAME"]
    before = ssm.get_parameters(Names=[name])["Parameters"][0]["Value"]
    if before != newest:
        ssm.put_parameter(Name=name, Value=newest, Type="String", Overwrite=True)
    return {"latest": newest}
