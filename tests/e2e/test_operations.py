"""What docs/operations.md says is what happens: its own commands run, by bash, against a deployed API."""

import re
import shutil

import pytest
from botocore.credentials import Credentials

from cli.operator import COMMANDS
from demo import operations
from demo.acceptance import Company
from localcloud.client import LocalCloud
from tests.e2e.conftest import NewProject, deploy
from tests.test_openapi import OPERATIONS

TEXT = operations.DOCUMENT.read_text()
POLICIES = operations.policies(TEXT)


@pytest.fixture(scope="module")
def company(running_cloud: LocalCloud, new_project: NewProject) -> Company:
    running_cloud.reset()
    return deploy(running_cloud, new_project())


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl to be tried")
def test_every_command_prints_what_the_document_says(company: Company) -> None:
    performed = operations.perform(company, TEXT)
    assert operations.normal(performed).splitlines() == operations.normal(TEXT).splitlines()


def test_each_command_and_its_route_is_in_the_document() -> None:
    asked = set(re.findall(r"^\$ aurora-refresh (\w+)", TEXT, re.MULTILINE))
    assert asked == {each.name for each in COMMANDS} - {"console"}
    named = set(re.findall(r"`(GET|PUT|POST|DELETE) (/\S+)`", TEXT))
    assert named == OPERATIONS.keys()


@pytest.mark.parametrize(("person", "writing"), [("tester", 403), ("operator", 400)])
def test_the_policies_let_testers_read_and_operators_do_everything(
    company: Company, person: str, writing: int
) -> None:
    """A list for a body is refused once somebody is let in."""
    variables = operations.environment_of(company, person, POLICIES[person])
    credentials = Credentials(*variables.values())
    answered = {}
    for method, path in OPERATIONS:
        body = None if method == "GET" else []
        answered[method, path], _ = company.signed(method, path, body, credentials)
    assert answered == {each: 200 if each[0] == "GET" else writing for each in OPERATIONS}
