import os
import uuid

from look import codepipeline, look, rds, ssm


def handler(_event: object, _context: object) -> dict[str, object]:
    latest, current, cicd, hold = (
        os.environ["SSM_RDS_LATEST_SNAPSHOT_NAME"],
        os.environ["SSM_RDS_CURRENT_SNAPSHOT_NAME"],
        os.environ["SSM_MAIN_CICD_NAME"],
        os.environ["SSM_REFRESH_HOLD_NAME"],
    )
    found = ssm.get_parameters(Names=[latest, current, cicd, hold])["Parameters"]
    values = {parameter["Name"]: parameter["Value"] for parameter in found}
    rds.describe_db_cluster_snapshots(
        DBClusterSnapshotIdentifier=values[latest], IncludeShared=True
    )
    look(values[cicd])
    ssm.put_parameter(Name=current, Value=values[latest], Type="String", Overwrite=True)
    token = str(uuid.uuid4())
    run = codepipeline.start_pipeline_execution(name=values[cicd], clientRequestToken=token)
    return {"current": values[latest], "execution_id": run["pipelineExecutionId"]}
