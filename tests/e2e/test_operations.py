"""What docs/operations.md tells is what happens: its own commands run, by bash, against a deployed API."""

import json
import re
import shutil

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from demo import operations
from localcloud.client import send
from localcloud.company import Company

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
def test_every_command_prints_what_the_document_tells(deployed: Company) -> None:
    performed = operations.perform(deployed, TEXT)
    assert operations.normal(performed).splitlines() == operations.normal(TEXT).splitlines()


def test_each_route_for_programs_is_asked_in_the_document(deployed: Company) -> None:
    apigateway = deployed.cloud.client("apigateway")
    resources = apigateway.get_resources(restApiId=operations.api_id(deployed))["items"]
    routes = {
        (method, each["path"]) for each in resources for method in each.get("resourceMethods", ())
    }
    assert routes == {(method, path) for method, path, _ in READS + WRITES}
    asked = set(re.findall(r"^\$ (?:ask|python3 ask\.py) (\w+) (\S+)", TEXT, re.MULTILINE))
    assert asked == routes


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


def test_what_is_printed_takes_the_place_of_what_was_told(deployed: Company) -> None:
    told = "$ echo right\nwrong\nwrong\n$ printf 'as %s\\n' \\\n>   before\nas before\n"
    found = "$ echo right\nright\n$ printf 'as %s\\n' \\\n>   before\nas before\n"
    assert operations.perform(deployed, block(told)) == block(found)


def test_what_chance_decides_stays_as_it_was_told(deployed: Company) -> None:
    told = "$ echo run 00000000-0000-4000-8000-000000000000 2026-01-04T04:00:07+00:00\n"
    answer = "run 99999999-9999-4999-8999-999999999999 2026-01-04T04:00:00+00:00\n"
    assert operations.perform(deployed, block(told + answer)) == block(told + answer)


@pytest.mark.parametrize(
    "name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
)
def test_a_command_that_prints_a_credential_is_refused(deployed: Company, name: str) -> None:
    policy = f"<!-- policy tester -->\n```json\n{POLICIES['tester']}```\n"
    printing = block(f"$ echo my ${name}\n")
    with pytest.raises(ValueError, match="a secret is printed by: echo"):
        operations.perform(deployed, f"{policy}<!-- as tester -->\n{printing}")


def test_a_direction_that_nobody_knows_is_refused(deployed: Company) -> None:
    with pytest.raises(ValueError, match="no direction exeunt; known: policy, file"):
        operations.perform(deployed, "<!-- exeunt omnes -->\n")


def block(transcript: str) -> str:
    return f"```console\n{transcript}```\n"


def ask(company: Company, variables: dict[str, str], method: str, path: str, body: object) -> int:
    """The status of an answer to somebody with these credentials."""
    url = operations.base_of(company) + path
    data = None if body is None else json.dumps(body).encode()
    request = AWSRequest(method, url, {"Content-Type": "application/json"}, data)
    SigV4Auth(Credentials(*variables.values()), "execute-api", company.cloud.region).add_auth(
        request
    )
    status, _ = send(method, url, data, dict(request.headers))
    return status
