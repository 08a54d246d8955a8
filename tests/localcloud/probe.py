"""The function ``probe`` in the local cloud."""

import io
import textwrap
import zipfile
from typing import Any

from localcloud.client import LocalCloud


def create_function(cloud: LocalCloud, source: str, **configuration: Any) -> str:
    """Deploy the function ``probe`` from its module's source, whose ``handler`` it runs; returns its ARN."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("app.py", textwrap.dedent(source))
    role = cloud.client("iam").create_role(RoleName="probe-role", AssumeRolePolicyDocument="{}")
    function = cloud.client("lambda").create_function(
        FunctionName="probe",
        Runtime="python3.11",
        Role=role["Role"]["Arn"],
        Handler="app.handler",
        Code={"ZipFile": package.getvalue()},
        **configuration,
    )
    return str(function["FunctionArn"])
