"""What docs/operations.md says is what happens: its own commands run, by bash, against a deployed API."""

import re
import shutil
from collections.abc import Callable

import pytest
from botocore.credentials import Credentials

from demo import operations
from demo.acceptance import STAGE, Company

TEXT = operations.DOCUMENT.read_text()
POLICIES = operations.policies(TEXT)

# Each route, with a body that is refused once somebody is let in.
READS = [
    ("GET", "/status", None),
    ("GET", "/snapshots", None),
    ("GET", "/snapshots/current/history", None),
]
WRITES = [
    ("PUT", "/snapshots/current", {}),
    ("POST", "/snapshots/current/rollback", []),
    ("PUT", "/hold", {}),
    ("DELETE", "/hold", {"reason": "this route knows none"}),
    ("POST", "/refresh", []),
]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl to be tried")
def test_every_command_prints_what_the_document_says(new_company: Callable[..., Company]) -> None:
    company = new_company()
    company.chalice("deploy", "--stage", STAGE)
    performed = operations.perform(company, TEXT)
    assert operations.normal(performed).splitlines() == operations.normal(TEXT).splitlines()


def test_each_route_for_programs_is_asked_in_the_document() -> None:
    asked = set(re.findall(r"^\$ (?:ask|python3 ask\.py) (\w+) (\S+)", TEXT, re.MULTILINE))
    assert asked == {(method, path) for method, path, _ in READS + WRITES}


@pytest.mark.parametrize(("person", "writing"), [("tester", 403), ("operator", 400)])
def test_the_policies_let_testers_read_and_operators_do_everything(
    deployed: Company, person: str, writing: int
) -> None:
    variables = operations.environment_of(deployed, person, POLICIES[person])
    answered = {
        (method, path): ask(deployed, variables, method, path, body)
        for method, path, body in READS + WRITES
    }
    assert answered == {(method, path): 200 for method, path, _ in READS} | {
        (method, path): writing for method, path, _ in WRITES
    }


def ask(company: Company, variables: dict[str, str], method: str, path: str, body: object) -> int:
    """The status of an answer to somebody with these credentials."""
    status, _ = company.signed(method, path, body, Credentials(*variables.values()))
    return status
