import json
import os

import boto3

ssm, rds = boto3.client("ssm"), boto3.client("rds")


def handler(event: dict[str, str], _context: object) -> dict[str, object]:
    arn = json.loads(event["body"])["snapshot"]
    current = os.environ["SSM_RDS_CURRENT_SNAPSHOT_NAME"]
    before = ssm.get_parameters(Names=[current])["Parameters"][0]["Value"]
    rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=arn, IncludeShared=True)
    put = ssm.put_parameter(Name=current, Value=arn, Type="String", Overwrite=True)
    answer = {"current": arn, "previous": before, "version": put["Version"]}
    return {"statusCode": 200, "body": json.dumps(answer)}
