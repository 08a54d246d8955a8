import json
import os

import boto3

ssm, rds, codepipeline = boto3.client("ssm"), boto3.client("rds"), boto3.client("codepipeline")


def handler(event: dict[str, str], _context: object) -> dict[str, object]:
    arn = json.loads(event["body"])["snapshot"]
    current, cicd = os.environ["SSM_RDS_CURRENT_SNAPSHOT_NAME"], os.environ["SSM_MAIN_CICD_NAME"]
    found = ssm.get_parameters(Names=[current, cicd])["Parameters"]
    values = {parameter["Name"]: parameter["Value"] for parameter in found}
    rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=arn, IncludeShared=True)
    ssm.get_parameter_history(Name=current, MaxResults=50)
    put = ssm.put_parameter(Name=current, Value=arn, Type="String", Overwrite=True)
    codepipeline.list_pipeline_executions(pipelineName=values[cicd], maxResults=100)
    answer = {"current": arn, "previous": values[current], "version": put["Version"]}
    return {"statusCode": 200, "body": json.dumps(answer)}
