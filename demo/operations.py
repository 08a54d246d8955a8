"""`python -m demo.operations`: run the commands of docs/operations.md on a local cloud, and compare the output.

Comments in the document set the scene: whose credentials are used, what time it is, that a night passes.
`--write` puts the real output into the document.
"""

import argparse
import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from demo.acceptance import PIPELINE, STAGE, Company, copy_project, nightly
from demo.output import fire
from localcloud.accounts import ACCEPTANCE
from localcloud.client import LocalCloud

PROJECT = Path(__file__).resolve().parent.parent
DOCUMENT = PROJECT / "docs/operations.md"
FOUNDED = datetime(2026, 1, 3, 12, tzinfo=UTC)
PEOPLE = {"tester": "tess", "operator": "omar"}

_STAGE = "acceptance"  # in the document
# The document's address stands for that of the deployed API.
API_ID = "API-ID"
API = f"https://{API_ID}.execute-api.{LocalCloud.region}.amazonaws.com/api"

# A direction, perhaps with the block that it is for; or a transcript.
_PIECE = re.compile(
    r"^<!-- (?P<word>\w+) ?(?P<rest>[^\n]*?) -->\n(?:```(?:sh|python|json)\n(?P<block>.*?)^```\n)?"
    r"|^```console\n(?P<transcript>.*?)^```\n",
    re.MULTILINE | re.DOTALL,
)
_COMMAND = re.compile(r"^\$ (.*\n(?:> .*\n)*)((?:(?!\$ ).*\n)*)", re.MULTILINE)


def main() -> int:
    """Run the document's commands; return 1 if their output differs from it."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.operations",
        description="Runs the commands of docs/operations.md on a local cloud, and compares.",
    )
    parser.add_argument("--write", action="store_true", help="put the real outputs into it")
    write = parser.parse_args().write
    text = DOCUMENT.read_text()
    with (
        tempfile.TemporaryDirectory(prefix="demo-of-aurora-refresh-") as copy,
        LocalCloud.start() as cloud,
    ):
        copy_project(PROJECT, Path(copy))
        company = Company(cloud, Path(copy))
        company.found(FOUNDED)
        company.chalice("deploy", "--stage", STAGE)
        performed = perform(company, text)
    if write:
        DOCUMENT.write_text(performed)
        return 0
    written, found = (normal(each).splitlines() for each in (text, performed))
    difference = list(difflib.unified_diff(written, found, "written", "found", lineterm="", n=1))
    print("\n".join(difference) or "The document is up to date.")
    return 1 if difference else 0


def perform(company: Company, text: str) -> str:
    """Return the document with the real output of its commands, for a newly deployed company."""
    with _Stage(company, policies(text)) as stage:
        return _PIECE.sub(stage.act, text)


def policies(text: str) -> dict[str, str]:
    """Return the document's policies as JSON, by the person that each is for."""
    return {
        piece["rest"]: piece["block"]
        for piece in _PIECE.finditer(text)
        if piece["word"] == "policy"
    }


def normal(text: str) -> str:
    """Return the text without what differs from run to run: seconds, and the ids of the pipeline's runs."""
    for pattern, name in (
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
        (r"(T\d\d:\d\d):\d\d\+00:00", r"\1:SS+00:00"),
    ):
        text = re.sub(pattern, name, text)
    return text


def environment_of(company: Company, person: str, policy: str) -> dict[str, str]:
    """Return the variables of a person who has assumed a role with that policy, for twelve hours."""
    iam, sts = company.cloud.client("iam"), company.cloud.client("sts")
    role = f"refresh-{person}"
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Principal": {"AWS": f"arn:aws:iam::{ACCEPTANCE}:root"},
            }
        ],
    }
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(
        RoleName=role,
        PolicyName="aurora-refresh",
        PolicyDocument=policy.replace(API_ID, api_id(company)),
    )
    session = sts.assume_role(
        RoleArn=f"arn:aws:iam::{ACCEPTANCE}:role/{role}",
        RoleSessionName=PEOPLE[person],
        DurationSeconds=12 * 60 * 60,
    )["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": session["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
        "AWS_SESSION_TOKEN": session["SessionToken"],
    }


def api_id(company: Company) -> str:
    """Return the id of the deployed API."""
    return base_of(company).split("/")[-2]


def base_of(company: Company) -> str:
    """Return the deployed API's address."""
    base = company.rest_url()
    if base is None:
        raise ValueError("no API is deployed")
    return base


class _Stage:
    """Runs the document's pieces: it has the company, and a shell of the person who acts."""

    def __init__(self, company: Company, permitted: Mapping[str, str]) -> None:
        self._company = company
        self._policies = permitted
        self._person = ""
        self._secrets: set[str] = set()
        self._base = base_of(company)
        self._folder = tempfile.TemporaryDirectory(prefix="demo-of-aurora-refresh-")
        self._shell = _Shell(Path(self._folder.name), self._base, company.cloud.endpoint)
        # The command of this folder, whichever is installed. The real stage has another name than the documented
        # one, so the address is given.
        self._shell.run('aurora-refresh() { python -m cli.main "$@" --url "$API"; }')
        self._directions: dict[str, Callable[[str, str], object]] = {
            "policy": lambda _rest, _block: None,
            "file": self._write,
            "run": lambda _rest, block: self._shell.run(block),
            "as": lambda person, _block: self._act_as(person),
            "at": lambda time, _block: self._come(_time(time)),
            "night": lambda given, _block: self._pass_night(*given.split(", ")),
            "ended": lambda _rest, _block: self._wait_for_run(),
            "push": lambda stage, _block: self._push(stage),
            "release": lambda _rest, _block: self._release(),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shell.stop()
        self._folder.cleanup()

    def act(self, piece: re.Match[str]) -> str:
        """Carry out one piece of the document, and return its expected text."""
        if piece["transcript"] is not None:
            transcript = _COMMAND.sub(self._answer, piece["transcript"])
            return f"```console\n{transcript}```\n"
        if piece["word"] not in self._directions:
            raise ValueError(f"no direction {piece['word']}; known: {', '.join(self._directions)}")
        self._directions[piece["word"]](piece["rest"], piece["block"])
        return piece[0]

    def _answer(self, written: re.Match[str]) -> str:
        found = self._shell.run(written[1].replace("\n> ", "\n"))
        if any(secret in found for secret in self._secrets):
            raise ValueError(f"a secret is printed by: {written[1]}")
        found = found.replace(f"{self._base} · ", f"{_STAGE} · ")
        found = found.replace(self._base, API).replace(api_id(self._company), API_ID)
        # A new run id does not count as a difference.
        answer = written[2] if normal(found) == normal(written[2]) else found
        return f"$ {written[1]}{answer}"

    def _write(self, name: str, block: str) -> None:
        (Path(self._folder.name) / name).write_text(block)

    def _act_as(self, person: str) -> None:
        self._person = person
        variables = environment_of(self._company, person, self._policies[person])
        self._secrets |= {*variables.values()}
        self._shell.run("\n".join(f"export {name}={text}" for name, text in variables.items()))

    def _come(self, time: datetime) -> None:
        self._company.cloud.set_clock(time)
        if self._person:
            self._act_as(self._person)  # the earlier credentials have expired

    def _pass_night(self, time: str, refusal: str | None = None) -> None:
        """Share in production, fire the two schedules, and wait until the run's end has been handled."""
        cloud, two = self._company.cloud, _time(time)
        cloud.set_clock(two)
        taken = two - timedelta(hours=6)
        mysql = {"engine": "aurora-mysql", "engine_version": "8.0.mysql_aurora.3.04.0"}
        cloud.seed_snapshots(
            [
                nightly("orders", taken),
                nightly("orders-next", taken, engine_version="16.1"),
                nightly("billing", taken, **mysql),
            ]
        )
        functions = {"db-update-latest-snapshot-id": 0, "db-restore-from-snapshot": 2}
        reasons = [
            fire(self._company, function, two + timedelta(hours=hours))["reason"]
            for function, hours in functions.items()
        ]
        if reasons != [None, refusal]:
            raise ValueError(f"the night of {time} went otherwise: {reasons}")
        if refusal is None:
            self._wait_for_run()

    def _push(self, stage: str) -> None:
        """Start a developer's run, and hold it in a stage."""
        cloud = self._company.cloud
        cloud.patch_pipeline(PIPELINE, hold=[stage])
        cloud.client("codepipeline").start_pipeline_execution(name=PIPELINE)
        cloud.wait_until_held(PIPELINE, stage)

    def _release(self) -> None:
        self._company.cloud.patch_pipeline(PIPELINE, hold=[])
        self._wait_for_run()

    def _wait_for_run(self) -> None:
        runs = self._company.cloud.client("codepipeline").list_pipeline_executions(
            pipelineName=PIPELINE
        )["pipelineExecutionSummaries"]
        self._company.followed(runs[0]["pipelineExecutionId"])


class _Shell:
    """A bash that keeps running, so that later commands can use what earlier ones have defined."""

    def __init__(self, folder: Path, base: str, endpoint: str) -> None:
        tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],  # noqa: S607 (the bash that a user would get)
            cwd=folder,
            # No other variables, and so no credentials, profiles and proxies of the user.
            env={
                "PATH": tools,
                "HOME": str(folder),
                "LC_ALL": "C.UTF-8",
                "AWS_DEFAULT_REGION": LocalCloud.region,
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_ENDPOINT_URL": endpoint,
                "API": base,
                "TZ": "UTC",
                "PYTHONPATH": str(PROJECT),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> str:
        """Run a command; return its output, and then its errors, because the two streams have no order."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        mark = f"{uuid.uuid4().hex}\n"
        self._process.stdin.write(
            f"{{\n{command}\n}} </dev/null 2>.errors\ncat .errors\nprintf %s\\\\n {mark}"
        )
        self._process.stdin.flush()
        printed = ""
        while not printed.endswith(mark):
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"the shell has ended at: {command}")
            printed += line
        return printed.removesuffix(mark)

    def stop(self) -> None:
        """Exit the shell."""
        self._process.communicate("exit\n")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


if __name__ == "__main__":
    sys.exit(main())
