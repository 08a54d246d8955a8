"""What ``chalice deploy`` makes of the stage, as a user runs it, and that ``chalice delete`` leaves nothing."""

import json
import zipfile
from collections.abc import Callable

import pytest
import yaml

from localcloud.client import LocalCloud
from localcloud.company import STAGE, Company, configure
from tests.e2e.conftest import FOLLOW, PROJECT, RECONCILE, RESTORE, UPDATE

NAMES = [f"aurora-refresh-local-{each}" for each in (FOLLOW, RECONCILE, RESTORE, UPDATE)]


def resources(cloud: LocalCloud) -> dict[str, list[str]]:
    """Return everything that a deployment makes, by name."""
    functions = cloud.client("lambda").list_functions()["Functions"]
    roles = cloud.client("iam").list_roles()["Roles"]
    return {
        "functions": sorted(each["FunctionName"] for each in functions),
        "roles": sorted(
            each["RoleName"] for each in roles if each["RoleName"].startswith("aurora-refresh")
        ),
        "rules": sorted(each["Name"] for each in cloud.client("events").list_rules()["Rules"]),
        "apis": [each["name"] for each in cloud.client("apigateway").get_rest_apis()["items"]],
    }


def test_a_stage_has_its_functions_each_with_a_role_and_its_triggers(deployed: Company) -> None:
    assert resources(deployed.cloud) == {
        "functions": ["aurora-refresh-local", *NAMES],
        "roles": ["aurora-refresh-local-api_handler", *NAMES],
        "rules": [f"{name}-event" for name in NAMES],
        "apis": ["aurora-refresh"],
    }
    rules = deployed.cloud.client("events").list_rules()["Rules"]
    schedules = {
        rule["Name"]: (rule["ScheduleExpression"], rule["State"])
        for rule in rules
        if "ScheduleExpression" in rule
    }
    assert schedules == {
        f"aurora-refresh-local-{UPDATE}-event": ("cron(0 2 ? * SUN *)", "ENABLED"),
        f"aurora-refresh-local-{RESTORE}-event": ("cron(0 4 ? * SUN *)", "ENABLED"),
        f"aurora-refresh-local-{RECONCILE}-event": ("rate(15 minutes)", "ENABLED"),
    }


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


def test_a_wrong_stage_makes_nothing_and_one_without_an_api_in_a_vpc_is_made_and_deleted(
    new_company: Callable[..., Company],
) -> None:
    company = new_company(lambda _: {"PIN_API_ENABLED": "false"})
    nothing = resources(company.cloud)
    file = company.project / ".chalice/config.json"
    config = json.loads(file.read_text())
    body = config["stages"][STAGE]
    body |= {"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"]}
    body["lambda_functions"][UPDATE] |= {"subnet_ids": [], "security_group_ids": []}
    right = json.dumps(config)
    body["environment_variables"] |= {"SOURCE_ACCOUNT": "12345", "MAINTENANCE_WINDOW": "night"}
    file.write_text(json.dumps(config))
    with pytest.raises(RuntimeError) as caught:
        company.chalice("deploy", "--stage", STAGE)
    printed = str(caught.value)
    assert "Traceback" not in printed
    assert [line.split(" is ")[0] for line in printed.splitlines() if line.startswith("  - ")] == [
        "  - SOURCE_ACCOUNT",
        "  - MAINTENANCE_WINDOW",
    ]
    assert resources(company.cloud) == nothing

    file.write_text(right)
    configure(company.project)
    company.chalice("deploy", "--stage", STAGE)
    made = resources(company.cloud)
    assert (made["apis"], made["functions"]) == ([], NAMES)
    functions = company.cloud.client("lambda").list_functions()["Functions"]
    in_vpc = {
        each["FunctionName"] for each in functions if each.get("VpcConfig", {}).get("SubnetIds")
    }
    assert in_vpc == {*NAMES} - {f"aurora-refresh-local-{UPDATE}"}

    company.chalice("delete", "--stage", STAGE)
    assert resources(company.cloud) == nothing
