"""``chalice deploy``, ``invoke`` and ``delete``, as a user runs them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from localcloud.client import LocalCloud
from localcloud.company import STAGE, Company, configure
from tests.e2e.conftest import FOLLOW, RECONCILE, RESTORE, UPDATE

SCHEDULED = {
    "version": "0",
    "id": "89d1a02d-5ec7-412e-82f5-13505f849b41",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "222222222222",
    "time": "2026-01-04T02:00:00Z",
    "region": "eu-west-1",
    "resources": [],
    "detail": {},
}


def resources(cloud: LocalCloud) -> dict[str, list[str]]:
    """Everything that a deployment makes, by name."""
    return {
        "functions": sorted(
            each["FunctionName"] for each in cloud.client("lambda").list_functions()["Functions"]
        ),
        "roles": sorted(
            each["RoleName"]
            for each in cloud.client("iam").list_roles()["Roles"]
            if each["RoleName"].startswith("aurora-refresh")
        ),
        "rules": sorted(each["Name"] for each in cloud.client("events").list_rules()["Rules"]),
        "apis": sorted(
            each["name"] for each in cloud.client("apigateway").get_rest_apis()["items"]
        ),
    }


def test_a_deployment_is_made_made_again_invoked_and_deleted(
    new_company: Callable[..., Company],
) -> None:
    company = new_company()
    nothing = resources(company.cloud)
    company.share(datetime(2026, 1, 4, 2, tzinfo=UTC))

    company.chalice("deploy", "--stage", STAGE)
    made = resources(company.cloud)
    names = [f"aurora-refresh-local-{each}" for each in (FOLLOW, RECONCILE, RESTORE, UPDATE)]
    assert made == {
        "functions": ["aurora-refresh-local", *names],
        "roles": ["aurora-refresh-local-api_handler", *names],
        "rules": [f"{name}-event" for name in names],
        "apis": ["aurora-refresh"],
    }

    company.chalice("deploy", "--stage", STAGE)
    assert resources(company.cloud) == made

    printed = company.chalice("invoke", "--stage", STAGE, "-n", UPDATE, stdin=json.dumps(SCHEDULED))
    assert json.loads(printed)["outcome"] == "updated"
    assert company.parameter(company.latest).endswith(":orders-2026-01-03")

    company.chalice("delete", "--stage", STAGE)
    assert resources(company.cloud) == nothing


def test_a_wrong_stage_fails_the_deployment_with_every_problem_and_makes_nothing(
    new_company: Callable[..., Company],
) -> None:
    company = new_company(SOURCE_ACCOUNT="12345", RDS_ENGINE="postgres", MAINTENANCE_WINDOW="night")
    nothing = resources(company.cloud)
    with pytest.raises(RuntimeError) as caught:
        company.chalice("deploy", "--stage", STAGE)
    printed = str(caught.value)
    assert "Traceback" not in printed
    assert [line.split(" is ")[0] for line in printed.splitlines() if line.startswith("  - ")] == [
        "  - SOURCE_ACCOUNT",
        "  - MAINTENANCE_WINDOW",
        "  - RDS_ENGINE",
    ]
    assert resources(company.cloud) == nothing


def test_without_the_pin_api_no_rest_api_is_deployed(new_company: Callable[..., Company]) -> None:
    company = new_company(PIN_API_ENABLED="false")
    company.chalice("deploy", "--stage", STAGE)
    made = resources(company.cloud)
    assert made["apis"] == []
    assert len(made["functions"]) == 4


def test_functions_are_put_into_the_stages_vpc(new_company: Callable[..., Company]) -> None:
    company = new_company()
    file = company.project / ".chalice/config.json"
    config = json.loads(file.read_text())
    body = config["stages"][STAGE]
    body |= {"subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"]}
    body["lambda_functions"][UPDATE] |= {"subnet_ids": [], "security_group_ids": []}
    file.write_text(json.dumps(config))
    configure(company.project)
    company.chalice("deploy", "--stage", STAGE)
    subnets = {
        each["FunctionName"]: each.get("VpcConfig", {}).get("SubnetIds", [])
        for each in company.cloud.client("lambda").list_functions()["Functions"]
    }
    assert subnets.pop(f"aurora-refresh-local-{UPDATE}") == []
    assert len(subnets) == 4
    assert {*map(tuple, subnets.values())} == {("subnet-1",)}
