"""Rows of Aurora PostgreSQL clusters, held to botocore's ``rds-data`` model and the Aurora User Guide.

What snapshots and restores carry is shown by `make demo SCENARIO=rows`, what the after-restore work does with it is in
tests/e2e/test_after_restore.py.
"""

import json

import pytest
from botocore.exceptions import ClientError

from localcloud.client import LocalCloud


def test_the_data_api_needs_an_enabled_endpoint_and_rights_on_cluster_and_secret(
    cloud: LocalCloud,
) -> None:
    """*Using the Amazon RDS Data API*, "Controlling access to the RDS Data API", Aurora User Guide."""
    made = cloud.client("rds").create_db_cluster(
        DBClusterIdentifier="orders",
        Engine="aurora-postgresql",
        MasterUsername="owner",
        ManageMasterUserPassword=True,
    )["DBCluster"]
    secret = made["MasterUserSecret"]["SecretArn"]
    arguments = {"resourceArn": made["DBClusterArn"], "secretArn": secret}
    visitor = cloud.client("rds-data", user="visitor")
    with pytest.raises(ClientError, match="HttpEndpointNotEnabledException"):
        cloud.client("rds-data").begin_transaction(**arguments)
    cloud.client("rds").enable_http_endpoint(ResourceArn=arguments["resourceArn"])
    own = {"Effect": "Allow", "Action": "rds-data:*", "Resource": arguments["resourceArn"]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [own]})
    for needed in ("rds-data:BeginTransaction", "secretsmanager:GetSecretValue"):
        with pytest.raises(ClientError, match=f"not authorized to perform: {needed}"):
            visitor.begin_transaction(**arguments)
        cloud.client("iam").put_user_policy(
            UserName="visitor", PolicyName="data", PolicyDocument=policy
        )
