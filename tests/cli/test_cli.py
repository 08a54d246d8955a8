"""The command line: what each command prints, how it ends, and what it refuses."""

import json
import re
import subprocess
import sys
import time
from itertools import takewhile
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from botocore import exceptions
from botocore.parsers import ResponseParserError
from botocore.session import Session
from click.testing import CliRunner
from rich.cells import cell_len

from chalicelib.domain.errors import Problem
from cli import operator, stages
from cli.errors import ApiError
from cli.main import cli
from cli.output import say_table
from cli.stages import INITIAL
from tests.console_states import OMAR, RUN, FakeClient, attention, database, nightly, version

NEW, OLD = nightly("orders", 1), nightly("orders", 7)
NEWEST, DEPLOYED = (each.rsplit(":", 1)[1] for each in (NEW, OLD))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """Of a stage in which the latest snapshot of billing is already deployed, and a pin waits."""
    seven, three = nightly("billing", 7), nightly("billing", 3)
    billing = database("billing", 7, latest=seven, current=three, previous=seven)
    fake = FakeClient(database("orders", 7), billing)
    monkeypatch.setattr(operator, "connect", lambda *_: fake)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    return fake


def run(line: str, answer: str = "") -> tuple[int, str, str]:
    """Run a line as a shell does, variables first; return its exit status, output and errors."""
    words = line.split()
    variables = dict(word.split("=", 1) for word in takewhile(lambda word: "=" in word, words))
    unset = {"AWS_CONFIG_FILE": "/dev/null", "AWS_DEFAULT_REGION": None, "AWS_PROFILE": None}
    runner = CliRunner(env=unset | variables)
    result = runner.invoke(cli, words[len(variables) :], input=answer)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


# --- questions ------------------------------------------------------------------------------------


def test_a_database_must_be_known_and_named_if_there_are_several(client: FakeClient) -> None:
    unknown = "There is no database 'invoices'; known: orders, billing.\n"
    several = "There are several databases; name one of orders, billing.\n"
    for line in ("pin a --deploy-now", "rollback --deploy-now"):
        assert run(f"{line} --database invoices") == (1, "", unknown)
        assert run(line) == (2, "", several)
    assert client.calls == []


def test_status_without_problems_exits_with_0_even_without_identity(client: FakeClient) -> None:
    client.answers["identity"] = client.answers["status"]["databases"][0]["age_hours"] = None
    status, printed, _ = run("status")
    head, _, _, *rows = printed.splitlines()
    assert (status, head) == (0, "acceptance · eu-west-1 · no problems")
    assert [row.split()[0] for row in rows] == ["orders", "billing"]
    assert json.loads(run("status --json")[1]) == client.answers["status"]


def test_status_with_problems_ends_with_1_and_names_them_last(client: FakeClient) -> None:
    client.answers["status"] = status = attention().answers["status"]
    status["databases"][2] |= {"deployed": None, "state": "deploying"}
    status["databases"][1] |= {"current": None, "state": "waiting"}  # which is a problem of its own
    status["hold"] = {"until": "2026-12-03", "reason": "load test", "by": OMAR}
    status["pipeline"]["under_way"]["waits_for"] = "an approval"
    assert run("status") == (
        1,
        """acceptance · 222222222222 · eu-west-1 · as omar (refresh-operator) · 1 problem

database   deployed            age      state      next refresh
orders     orders-2026-11-14   13 days  restoring  Sun 29 Nov 2026 04:00 UTC
billing    billing-2026-11-11  16 days  waiting    Sun 29 Nov 2026 04:00 UTC
documents                               deploying  Sun 29 Nov 2026 04:00 UTC
on hold  until 2026-12-03, by refresh-operator/omar: load test
running  acceptance-main · Deploy, 23 minutes · waits for an approval · \
restores orders from orders-2026-11-27

✗ billing: the deployed data is more than 16 days old; the limit is 14 days. Refresh once a newer \
snapshot is shared, or pin one and deploy it now. Until then, no other database is refreshed either.
""",
        "",
    )


def test_snapshots_say_why_one_is_refused_and_the_history_who_did_what(client: FakeClient) -> None:
    found = client.snapshots("orders")["snapshots"]
    listed = [*found[:7], found[-1], *found[7:31]]
    client.answers["snapshots"] = {"snapshots": listed, "omitted": 7, "message": "none"}
    _, newest, older, *rest = run("snapshots")[1].splitlines()
    cells = [NEWEST, "Fri 27 Nov 2026 22:00 UTC", "orders", "15.4", "eligible, the newest"]
    assert re.split("  +", newest) == cells
    assert older.endswith("  eligible")
    assert rest[5].endswith("  version: engine version 16.1, wanted 15")
    older, omitted = "and 2 older ones: --all lists them", "7 more are shared but not listed."
    assert rest[-3:] == [older, omitted, "none"]
    assert len(run("snapshots --all")[1].splitlines()) == 35
    row = run("history --database orders")[1].splitlines()[2]
    assert re.split("  +", row) == [
        *("4", "orders-2026-11-18", "Mon 09 Nov 2026 14:00 UTC"),
        *("refresh", "refresh-operator/omar", "compare", "run-failed"),
    ]


def test_what_others_wrote_controls_no_terminal_and_a_name_is_never_broken(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile, shown = "\x1b]0;x\x07[red]a\u202eb[/red]\r\nc", "?]0;x?[red]a?b[/red] c"
    client.answers["history"] = {"history": [version(4, "orders", 7, 7, why=hostile)]}
    assert shown in run("history")[1]
    client.answers["status"]["problems"] = [hostile]
    assert f"✗ {shown}\n" in run("status")[1]
    client.answers["status"] = ApiError(409, "Conflict", hostile)
    assert run("status") == (1, "", f"{shown}.\n")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    name = "aurora-refresh-share-0123456789abcdef0123456789abcdef"
    say_table(
        ["why", "snapshot", "result", "found"],
        [["so long " * 9, name, "good", f"it is {NEW}"], [hostile, name, None, "so long " * 9]],
    )
    plain = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    unbroken = (name, NEW, shown.split(maxsplit=1)[0], "\x1b")
    assert [plain.count(each) for each in unbroken] == [2, 1, 1, 0]
    assert len(plain.splitlines()) > 3  # only the long texts are wrapped
    say_table(["set", "why"], [["2026-01-04", "決済テスト" * 20]])  # which has no spaces
    printed = capsys.readouterr().out
    assert (printed.count("2026-01-04"), printed.count("決")) == (1, 20)
    assert all(cell_len(line) <= 80 for line in re.sub(r"\x1b\[\d*m", "", printed).splitlines())


# --- changes --------------------------------------------------------------------------------------

DONE = {
    f"pin {NEWEST} --reason why --database orders": (
        ("pin", {"snapshot": NEWEST, "reason": "why", "deploy": False, "database": "orders"}),
        f"The pipeline's next run restores {NEWEST}, unless that is deployed already, or a refresh comes first.\n",
    ),
    "rollback --deploy-now --yes": (
        ("rollback", {"reason": "", "deploy": True, "database": None}),
        f"Run {RUN} restores {NEWEST}, unless that is deployed already.\n",
    ),
    "refresh --yes": (
        ("refresh", {"reason": "", "outside_window": False, "dry_run": False}),
        f"The refresh has started: run {RUN}.\n",
    ),
    "refresh --dry-run --outside-window": (
        ("refresh", {"reason": "", "outside_window": True, "dry_run": True}),
        "step  verdict  detail\nweek  passed   any week will do\n",
    ),
    "hold 2026-12-03 --reason test": (
        ("hold", {"until": "2026-12-03", "reason": "test"}),
        (
            f"The schedule is on hold until 2026-12-03. Note: run 7 restores {NEWEST}. "
            "Next refresh: Sun 06 Dec 2026 04:00 UTC.\n"
        ),
    ),
    "resume": (("resume", {}), "The schedule is not on hold. No refresh is planned.\n"),
}


@pytest.mark.parametrize("line", DONE)
def test_a_command_that_replaces_nothing_asks_no_question(client: FakeClient, line: str) -> None:
    client.answers["status"] = ApiError(500, "NotNeeded", "there is no question to put")
    client.answers["refresh"] |= {"dry_run": "--dry-run" in line}
    call, said = DONE[line]
    assert (run(line), client.calls) == ((0, said, ""), [call])


BILLING = "billing (billing-2026-11-21 → billing-2026-11-25)"
LOST = "and deletes what testers changed in"
BOTH = f"the acceptance clusters of orders ({DEPLOYED} → {{}}) and {BILLING}, {LOST} them"
REPLACED = {
    "pin Latest --deploy-now --database orders": BOTH.format(NEWEST),
    "pin a --deploy-now --database orders": BOTH.format("a"),
    # An own snapshot may have the name of the deployed one.
    f"pin {DEPLOYED} --deploy-now --database orders": BOTH.format(DEPLOYED),
    f"pin {OLD} --deploy-now --database orders": f"the acceptance cluster of {BILLING}, {LOST} it",
    "rollback --deploy-now --database billing": "no cluster",  # which only undoes the pin
    "refresh": BOTH.format(NEWEST),
}


@pytest.mark.parametrize("line", REPLACED)
def test_what_replaces_data_asks_first_and_a_script_has_to_say_yes(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    question = f"This replaces {REPLACED[line]}."
    no_terminal = "There is no terminal to ask on: add --yes to continue."
    assert run(line) == (2, "", f"{question}\n{no_terminal}\n")

    monkeypatch.setattr("cli.output.is_interactive", lambda: True)
    refused = f"{question} Continue? [y/N]: n\nNothing was changed.\n"
    assert run(line, answer="n\n") == (1, "", refused)
    assert client.calls == []
    assert run(line, answer="y\n")[0] == 0
    assert [call[0] for call in client.calls] == line.split()[:1]


def test_what_has_changed_while_a_question_waited_is_asked_again(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run restores every database from its *current*, also one that somebody has pinned meanwhile."""
    monkeypatch.setattr("cli.output.is_interactive", lambda: True)
    now = client.answers["status"]
    pinned = [now["databases"][0], now["databases"][1] | {"current": nightly("billing", 1)}]
    client.answers["status"] = Mock(side_effect=[now, now | {"databases": pinned}])
    status, _, said = run("refresh", answer="y\nn\n")
    assert (status, client.calls, said.count("This replaces")) == (1, [], 2)
    assert nightly("billing", 1).rsplit(":", 1)[1] in said


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (RuntimeError("the refreshed credentials are still expired"), "aws sso login"),
        (ResponseParserError("not well-formed"), "may have answered instead of AWS"),
        (ApiError(403, "ForbiddenException", "Forbidden"), "VPC endpoint"),
        (ApiError(502, "Error", "Internal server error"), "it may have been made"),
    ],
)
def test_what_proxies_and_profiles_do_has_a_next_step(
    client: FakeClient, error: Exception, step: str
) -> None:
    client.answers["history"] = Mock(side_effect=error)
    assert step in run("history")[2]


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_refusal_is_a_sentence(client: FakeClient) -> None:
    def refused(answer: Any) -> tuple[int, str, str]:
        client.answers["history"] = answer
        return run("history")

    assert refused(ApiError(409, "ConflictError", "busy")) == (1, "", "busy.\n")
    assert refused(ApiError(400, "BadRequestError", "until is x")) == (2, "", "until is x.\n")
    assert refused(ApiError(404, "StageNotFound", "none"))[0] == 2
    next_step = "Name the stage's Region with --region or AWS_DEFAULT_REGION."
    no_region = ApiError(None, "NoRegion", "No Region.")
    assert refused(no_region) == (2, "", f"No Region. {next_step}\n")
    for name in ("CredentialRetrieval", "SSOTokenLoad", "TokenRetrieval", "UnauthorizedSSOToken"):
        error = getattr(exceptions, f"{name}Error")(provider="sso", error_msg="it has expired")
        assert "aws sso login" in refused(Mock(side_effect=error))[2]
    status, _, errors = refused({"status": "ok"})
    assert status == 1
    assert errors.startswith("The answer has no 'history': the address may belong to another API")
    skipped = {"outcome": "skipped", "reason": "on-hold", "message": "on hold until 2030"}
    client.answers["refresh"] = skipped | {"dry_run": False, "steps": []}
    said = "step  verdict  detail\nskipped, on-hold: on hold until 2030\n"
    assert run("refresh --yes") == (1, said, "")
    assert run("refresh --yes --json")[0] == 1


ADDRESS = "write one that begins with https://, such as https://ID.execute-api.eu-west-1.amazonaws.com/api\n"
DEPLOY = "deploy --stage acceptance"
STRANGERS = NEW.replace("111111111111", "999999999999")
ELSEWHERE = NEW.replace("eu-west-1", "eu-west-2")
ENDPOINT = "write an address such as http://127.0.0.1:5000, or unset it\n"
WRONG = {
    "status": "name a stage with --stage acceptance",
    "status --url=": "name a stage with --stage acceptance",
    "status --url https:///api": f"--url is 'https:///api': {ADDRESS}",
    "status --url http://a.example/api": f"--url is 'http://a.example/api': {ADDRESS}",
    "status --url http://x:y/api": f"--url is 'http://x:y/api': {ADDRESS}",
    "status --stage test --profile x": "The config profile (x) could not be found. Name an exist",
    "AWS_DEFAULT_REGION=eu-west-1 status --stage test --profile x": "found. Name an existing profile ",
    "AWS_PROFILE=x package --stage acceptance": "found. Name an existing profile with --profile o",
    "AWS_ENDPOINT_URL_STS=host:80 live-check": f"AWS_ENDPOINT_URL_STS is 'host:80': {ENDPOINT}",
    "configure": "Missing option '--stage'",
    f"{DEPLOY} EMAIL=team": "EMAIL is 'team': write an address such as team@example.com",
    f"{DEPLOY} EMAIL=": "EMAIL is '': write an address",
    f"{DEPLOY} EMIAL=a@b.de": "deploy takes no answer EMIAL. It takes: EMAIL, ",
    **{
        f"{DEPLOY} {INITIAL}={value}": f"{INITIAL} is '{value}': write the ARN of a "
        for value in ("orders", STRANGERS, ELSEWHERE)
    },
    **{
        f"{command} --stage nosuch": "has no stage 'nosuch'"
        for command in ("deploy", "doctor", "package", "destroy", "destroy --dry-run")
    },
    "doctor --stage acceptance --project /": "there is no /.chalice/config.json: name",
    "live-check": "no Region is set: name one with --region or AWS_DEFAULT_REGION",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_ends_with_2_and_says_what_would_be_right(line: str) -> None:
    status, printed, errors = run(line)
    assert (status, printed) == (2, "")
    assert WRONG[line] in errors


@pytest.mark.parametrize("line", [DEPLOY, f"{DEPLOY} --dry-run", "package --stage acceptance"])
def test_a_stage_that_contradicts_itself_is_neither_deployed_nor_packaged(
    monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    problem = Problem(("SOURCE_ACCOUNT",), "is the stage's own")
    monkeypatch.setattr(stages, "contradictions", lambda stage: [problem])
    status, printed, errors = run(line)
    assert (status, printed) == (1, "")
    refusal = "The stage's settings are wrong:\n  - SOURCE_ACCOUNT is the stage's own\n"
    assert errors.startswith(refusal)


def test_an_address_goes_before_a_stage_whatever_the_environment_has() -> None:
    assert operator.connect("a", None).name == "a"
    assert operator.connect("a", "https://b").name == "https://b"


def test_a_named_profile_is_used_before_the_environment(client: FakeClient, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("[profile own]\naws_access_key_id = own\naws_secret_access_key = x\n")
    names = "PROFILE DEFAULT_PROFILE ACCESS_KEY_ID SECRET_ACCESS_KEY WEB_IDENTITY_TOKEN_FILE"
    others = " ".join(f"AWS_{name}=other" for name in [*names.split(), "ROLE_ARN"])
    identity = client.answers["identity"]
    client.answers["identity"] = lambda: (
        identity | {"Account": Session().get_credentials().access_key}
    )
    printed = run(f"AWS_CONFIG_FILE={config} {others} status --profile own")[1]
    assert printed.startswith("acceptance · own · ")


def test_ctrl_c_and_a_full_disk_end_with_a_sentence(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "say", Mock(side_effect=[KeyboardInterrupt, OSError("full")]))
    assert run("status") == (1, "", "Stopped.\n")
    assert run("status") == (1, "", "full\n")


def test_help_is_in_order_and_a_command_works_without_any_stream_and_without_a_reader() -> None:
    listed = re.findall(r"^  ([a-z][a-z-]+)  ", run("--help")[1], re.MULTILINE)
    assert listed == [*cli.commands]
    command = f"{sys.executable} -m cli.main configure --stage acceptance --offline --dry-run"
    shell = f"set -o pipefail; {command} 0<&- && {command} 1>&- && {command} 2>&-"
    shell += f" && {command} MAX_SNAPSHOT_AGE_DAYS=9 | : && ! {command} --help | :"
    done = subprocess.run(["bash", "-c", shell], check=True, capture_output=True)
    assert done.stderr == b""
