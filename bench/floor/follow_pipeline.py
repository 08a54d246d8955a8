import os

import boto3
from look import look, rds, ssm

sns = boto3.client("sns")


def handler(_event: object, _context: object) -> dict[str, object]:
    current, cicd = os.environ["SSM_RDS_CURRENT_SNAPSHOT_NAME"], os.environ["SSM_MAIN_CICD_NAME"]
    pipeline = ssm.get_parameters(Names=[cicd])["Parameters"][0]["Value"]
    newest = look(pipeline)[-1]
    rds.describe_db_cluster_snapshots(
        DBClusterSnapshotIdentifier=newest["Value"], IncludeShared=True
    )
    topic = os.environ["NOTIFICATION_TOPIC_ARN"]
    sns.publish(TopicArn=topic, Subject="refreshed", Message=newest["Value"])
    ssm.label_parameter_version(Name=current, ParameterVersion=newest["Version"], Labels=["good"])
    ssm.get_parameter_history(Name=current, MaxResults=50)
    return {"good": newest["Version"]}
