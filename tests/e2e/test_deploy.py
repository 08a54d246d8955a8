"""What ``chalice deploy`` makes of the stage: its package, and its API."""

import zipfile

import yaml

from localcloud.company import Company
from tests.e2e.conftest import PROJECT


def test_the_package_holds_what_the_runtime_lacks_and_nothing_else(deployed: Company) -> None:
    (package,) = (deployed.project / ".chalice/deployments").glob("*-python*.zip")
    with zipfile.ZipFile(package) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    own = {top for top in tops if not top.endswith((".dist-info", ".data"))}
    assert own == {"app.py", "chalice", "chalicelib", "tzdata"}
    assert package.stat().st_size <= 1.5 * 1024 * 1024


def test_every_deployed_method_carries_the_iam_authorizer(deployed: Company) -> None:
    apigateway = deployed.cloud.client("apigateway")
    (api,) = apigateway.get_rest_apis()["items"]
    methods = {
        (resource["path"], method): apigateway.get_method(
            restApiId=api["id"], resourceId=resource["id"], httpMethod=method
        )["authorizationType"]
        for resource in apigateway.get_resources(restApiId=api["id"])["items"]
        for method in resource.get("resourceMethods", {})
    }
    document = yaml.safe_load((PROJECT / "docs/openapi.yaml").read_text())
    documented = [(path, each.upper()) for path, item in document["paths"].items() for each in item]
    assert methods == dict.fromkeys(documented, "AWS_IAM")
