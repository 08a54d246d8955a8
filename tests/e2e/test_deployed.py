"""What a deployment looks like."""

import zipfile

import pytest
import yaml

from localcloud.company import Company
from tests.e2e.conftest import FOLLOW, PROJECT, RECONCILE, RESTORE, UPDATE


def test_the_package_holds_what_the_runtime_lacks_and_nothing_else(deployed: Company) -> None:
    (package,) = (deployed.project / ".chalice/deployments").glob("*-python*.zip")
    with zipfile.ZipFile(package) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith((".dist-info", ".data"))} == {
        "app.py",
        "chalice",
        "chalicelib",
        "tzdata",
    }
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


def test_the_schedules_are_those_of_the_contract(deployed: Company) -> None:
    rules = [
        rule
        for rule in deployed.cloud.client("events").list_rules()["Rules"]
        if "ScheduleExpression" in rule
    ]
    assert {rule["Name"]: (rule["ScheduleExpression"], rule["State"]) for rule in rules} == {
        f"aurora-refresh-local-{UPDATE}-event": ("cron(0 2 ? * SUN *)", "ENABLED"),
        f"aurora-refresh-local-{RESTORE}-event": ("cron(0 4 ? * SUN *)", "ENABLED"),
        f"aurora-refresh-local-{RECONCILE}-event": ("rate(15 minutes)", "ENABLED"),
    }


@pytest.mark.parametrize("function", [FOLLOW, RECONCILE, RESTORE])
def test_only_one_invocation_at_a_time_moves_current(deployed: Company, function: str) -> None:
    """Parameter Store has no compare-and-set."""
    limit = deployed.cloud.client("lambda").get_function_concurrency(
        FunctionName=f"aurora-refresh-local-{function}"
    )
    assert limit["ReservedConcurrentExecutions"] == 1
