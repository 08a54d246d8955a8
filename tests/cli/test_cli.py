"""The command line: what each command prints, how it ends, and what it refuses."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.session import Session
from click.testing import CliRunner, Result

from cli import operator
from cli.client import ApiError
from cli.main import cli
from cli.operator import Target
from cli.output import printable
from tests.console_states import OMAR, RUN, FakeClient, at, database, nightly, share, version

NEW, OLD = nightly("orders", 1), nightly("orders", 7)
NEWEST, DEPLOYED = (each.rsplit(":", 1)[1] for each in (NEW, OLD))


def status(*databases: Any, **facts: Any) -> dict[str, Any]:
    return FakeClient(*databases or [database("orders", 7)], **facts).status_answer


PINNED = {"current": NEW, "previous": OLD, "version": 5, "execution_id": None, "under_way": None}
STARTED = {
    "outcome": "started",
    "databases": [{"name": "orders", "current": NEW, "previous": OLD}],
    "execution_id": RUN,
    "steps": [
        {"step": "week", "verdict": "passed", "detail": "any week will do"},
        {"step": "put", "verdict": "would do", "detail": None},
    ],
}
REFUSED = {"outcome": "skipped", "reason": "on-hold", "message": "on hold until 2030", "steps": []}
RESUMED = {"hold": None, "next_restore": "2026-12-06T04:00:00+00:00", "under_way": None}
NOT_NEEDED = ApiError(500, "NotNeeded", "there is no question to put")
HELD = RESUMED | {"hold": {"until": "2026-12-03"}}
REJECTED = share("orders", 7, eligible=False, reason="version", detail="14.2, wanted 15")
VERSION = version(4, OLD, 7, action="pin", by=OMAR, why="compare", result="run-failed")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    fake = FakeClient(database("orders", 7))
    shared = {"snapshots": [share("orders", 1), REJECTED], "omitted": 0, "message": None}
    fake.answers = {
        "snapshots": shared,
        "history": {"history": [VERSION]},
        "pin": PINNED,
        "rollback": PINNED | {"execution_id": RUN},
        "refresh": STARTED,
        "hold": HELD,
        "resume": RESUMED,
    }
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr(operator, "connect", lambda *_: Target("acceptance", fake))
    return fake


def run(*words: str, answer: str = "") -> Result:
    result = CliRunner().invoke(cli, [*words], input=answer)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


# --- what is --------------------------------------------------------------------------------------


def test_status_shows_each_database_in_a_line(client: FakeClient) -> None:
    result = run("status")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "acceptance · 222222222222 · eu-west-1 · as omar (refresh-operator) · no problems\n"
        "\n"
        "database  deployed           age     state  next refresh\n"
        "orders    orders-2026-11-21  7 days  good   Sun 29 Nov 2026 04:00 UTC\n"
    )


def test_status_with_problems_ends_with_1_and_names_them_last(client: FakeClient) -> None:
    waiting = {"stage": "Approve", "waits_for": "an approval", "restores": f"orders from {NEW}"}
    client.answers["status"] = status(
        database("orders", 17),
        database("billing", 7, current=NEW, preparation={"state": "not-prepared"}),
        database("documents", 7, deployed=None, age_hours=None),
        hold={"until": "2026-12-03", "reason": "load test", "by": OMAR},
        pipeline={"name": "acceptance-main", "under_way": {"started": at(minutes=23), **waiting}},
        problems=[f"billing: {NEW} is not prepared. Look."],
    )
    result = run("status")
    assert (result.exit_code, result.stderr) == (1, "")
    printed = result.stdout.splitlines()
    states = [("orders", "stale"), ("billing", "restoring"), ("documents", "restoring")]
    for row, (name, state) in zip(printed[3:6], states, strict=True):
        assert row.startswith(f"{name}  ")
        assert f"  {state}  " in row
    assert printed[6:] == [
        "on hold  until 2026-12-03, by refresh-operator/omar: load test",
        (
            "running  acceptance-main · Approve, 23 minutes · waits for an approval · "
            f"restores orders from {NEWEST}"
        ),
        "",
        f"✗ billing: {NEWEST} is not prepared. Look.",
    ]


def test_status_of_one_database(client: FakeClient) -> None:
    client.answers["status"] = status(database("orders", 7), database("billing", 7))
    assert "orders " not in run("status", "--database", "billing").stdout
    (shown,) = json.loads(run("status", "--database", "billing", "--json").stdout)["databases"]
    assert shown["name"] == "billing"
    unknown = run("status", "--database", "invoices")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert unknown.stderr == "there is no database 'invoices'; known: orders, billing\n"


def test_status_without_the_right_to_know_who_asks(client: FakeClient) -> None:
    client.answers["identity"] = ApiError(403, "AccessDenied", "no")
    assert run("status").stdout.startswith("acceptance · eu-west-1 · no problems\n")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["status"], "status"),
        (["snapshots", "--database", "orders"], "snapshots"),
        (["history"], "history"),
        (["pin", NEWEST], "pin"),
        (["rollback"], "rollback"),
        (["refresh", "--dry-run"], "refresh"),
        (["hold", "2026-12-03"], "hold"),
        (["resume"], "resume"),
    ],
)
def test_json_is_the_api_s_own_answer(client: FakeClient, words: list[str], answer: str) -> None:
    result = run(*words, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == client.answers.get(answer, client.status_answer)


def test_snapshots_say_why_one_cannot_be_restored(client: FakeClient) -> None:
    assert run("snapshots").stdout.splitlines() == [
        "snapshot           taken                      cluster  version  verdict",
        "orders-2026-11-27  Fri 27 Nov 2026 22:00 UTC  orders   15.4     eligible, the newest",
        "orders-2026-11-21  Sat 21 Nov 2026 22:00 UTC  orders   15.4     version: 14.2, wanted 15",
    ]
    client.answers["snapshots"] = {"snapshots": [REJECTED] * 32, "omitted": 7, "message": "none"}
    assert run("snapshots").stdout.splitlines()[-3:] == [
        "and 2 older ones; use --all to list them",
        "7 more are shared but not listed.",
        "none",
    ]
    assert len(run("snapshots", "--all").stdout.splitlines()) == 35


def test_history_says_who_and_why_and_what_became_of_it(client: FakeClient) -> None:
    (row,) = run("history").stdout.splitlines()[1:]
    assert re.split("  +", row) == [
        *("4", DEPLOYED, "Sat 21 Nov 2026 14:00 UTC"),
        *("pin", "refresh-operator/omar", "compare", "run-failed"),
    ]


# --- what is wanted -------------------------------------------------------------------------------


def test_a_pin_waits_for_the_next_run(client: FakeClient) -> None:
    client.answers["pin"] = PINNED | {"under_way": f"run 1 is in progress: it restores {OLD}"}
    result = run("pin", NEWEST, "--reason", "why", "--database", "orders")
    assert result.exit_code == 0
    assert result.stdout == (
        f"orders: current is {NEWEST} (version 5); it was {DEPLOYED}.\n"
        "The pipeline's next run restores it.\n"
        f"In progress: run 1 is in progress: it restores {DEPLOYED}.\n"
    )
    assert client.calls == [
        ("pin", NEWEST, {"reason": "why", "deploy": False, "database": "orders"})
    ]


MOVED = f"orders ({DEPLOYED} → {NEWEST}), and deletes"
RESTORING = [
    (["pin", "latest", "--deploy-now"], "pin", MOVED),
    (["pin", "orders-9", "--deploy-now"], "pin", f"orders ({DEPLOYED}) with orders-9, and deletes"),
    (
        ["rollback", "--deploy-now"],
        "rollback",
        f"orders ({DEPLOYED} → orders-2026-11-07), and deletes",
    ),
    (["refresh"], "refresh", MOVED),
]


@pytest.mark.parametrize(("words", "verb", "question"), RESTORING)
def test_what_replaces_data_asks_first_and_a_script_has_to_say_yes(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, words: list[str], verb: str, question: str
) -> None:
    nobody = run(*words)
    assert (nobody.exit_code, nobody.stdout) == (2, "")
    assert nobody.stderr.endswith("There is no terminal to ask on: add --yes to continue.\n")
    monkeypatch.setattr("cli.output.is_interactive", lambda: True)
    refused = run(*words, answer="n\n")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"This replaces the acceptance cluster of {question} what testers" in refused.stderr
    assert "what testers changed in it. Continue?" in refused.stderr
    assert refused.stderr.endswith("Nothing was changed.\n")
    assert client.calls == []

    assert run(*words, answer="y\n").exit_code == 0
    assert client.calls[-1][0] == verb
    client.calls.clear()
    client.answers["status"] = NOT_NEEDED
    assert run(*words, "--yes").exit_code == 0
    assert [call[0] for call in client.calls] == [verb]


def test_what_stays_as_it_is_is_not_said_to_be_replaced(client: FakeClient) -> None:
    kept = database("billing", 7, latest=nightly("billing", 7))
    client.answers["status"] = status(database("orders", 7), kept)
    assert run("refresh").stderr.startswith(f"This replaces the acceptance cluster of {MOVED}")


def test_a_dry_run_shows_the_steps_and_asks_nothing(client: FakeClient) -> None:
    client.answers["status"] = NOT_NEEDED
    result = run("refresh", "--dry-run", "--outside-window")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "step  verdict   detail",
        "week  passed    any week will do",
        "put   would do",
        f"orders: would move {DEPLOYED} → {NEWEST}",
        "This would be restored.",
    ]
    assert client.calls == [("refresh", {"reason": "", "outside_window": True, "dry_run": True})]


def test_a_refresh_that_is_refused_ends_with_1(client: FakeClient) -> None:
    client.answers["refresh"] = REFUSED
    result = run("refresh", "--yes")
    assert result.exit_code == 1
    assert result.stdout.endswith("skipped, on-hold: on hold until 2030\n")
    assert run("refresh", "--yes", "--json").exit_code == 1


def test_hold_and_resume_say_when_the_next_refresh_is(client: FakeClient) -> None:
    when = "Next refresh: Sun 06 Dec 2026 04:00 UTC.\n"
    held, resumed = run("hold", "2026-12-03", "--reason", "test"), run("resume")
    assert held.stdout == f"Scheduled refreshes are on hold until 2026-12-03. {when}"
    assert resumed.stdout == f"There is no hold. {when}"
    assert client.calls == [("hold", "2026-12-03", "test", {}), ("resume", {})]


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (ApiError(409, "ConflictError", "busy"), 1, "busy.\n"),
        (ApiError(400, "BadRequestError", "database is missing"), 2, "database is missing.\n"),
        (ApiError(404, "NotFoundError", "no such snapshot"), 1, "no such snapshot.\n"),
        (
            ApiError(None, "NoRegion", "You must specify a region."),
            2,
            "You must specify a region. Name the stage's Region with --region or AWS_DEFAULT_REGION.\n",
        ),
        (ApiError(None, "Unreachable", "no route"), 1, "no route. Check your network, VPN"),
    ],
)
def test_a_refusal_is_a_sentence(
    client: FakeClient, error: ApiError, exit_code: int, message: str
) -> None:
    client.answers["history"] = error
    result = run("history")
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert result.stderr.startswith(message)


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_another_api_s_answer_is_a_failure_in_one_sentence(
    client: FakeClient, words: list[str]
) -> None:
    client.answers["status"] = {"status": "ok"}
    result = run("status", *words)
    assert result.exit_code == 1
    assert result.stderr.startswith(
        "The answer has no 'databases': the address may be another API's"
    )


USAGE: dict[str, tuple[int, str]] = {
    # An option, an answer or a name is missing, unknown or wrong.
    "status --nosuch": (2, "No such option"),
    "status --stage": (2, "requires an argument"),
    "status --url foo": (2, "--url is 'foo'"),
    "hold Thursday": (2, "write a date"),
    "refresh": (2, "add --yes"),
    "configure": (2, "Missing option '--stage'"),
    "configure --stage acceptance RDS_ENGINE": (2, "write NAME=VALUE"),
    "configure --stage acceptance FOO=1": (2, "FOO is not a setting"),
    "configure --stage acceptance RDS_ENGINE=oracle": (2, "RDS_ENGINE is 'oracle'"),
    "configure --stage a_b": (2, "STAGE is 'a_b'"),
    "configure --stage acceptance-before": (2, "STAGE is 'acceptance-before'"),
    "deploy --stage acceptance FOO=1": (2, "deploy takes no answer FOO"),
    **{
        f"{command} --stage {stage}": (2, message)
        for command in ("deploy", "doctor", "package", "destroy", "destroy --dry-run")
        for stage, message in {"nosuch": "has no stage 'nosuch'", "a_b": "'a_b'"}.items()
    },
    "doctor --stage acceptance --project /": (2, "there is no .chalice/config.json"),
    "live-check": (2, "no Region is set: name one with --region or AWS_DEFAULT_REGION"),
    # The command is right, and the answer is no.
    "status --database x": (1, "there is no database 'x'"),
    "history --database x": (1, "no database x"),
    "pin x": (1, "no snapshot x"),
    "hold 2026-01-01": (1, "is not in the future"),
    "rollback": (1, "busy"),
    "resume": (1, "Check your network"),
}


@pytest.mark.parametrize("words", USAGE)
def test_a_wrong_command_ends_with_2_and_a_refusal_with_1(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    hold = ApiError(400, "BadRequestError", 'until is "Thursday": write a date such as 2026-01-22')
    client.answers |= {
        "history": ApiError(404, "NotFoundError", "there is no database x"),
        "pin": ApiError(404, "NotFoundError", "there is no snapshot x"),
        "rollback": ApiError(409, "ConflictError", "busy"),
        "hold": hold
        if "Thursday" in words
        else ApiError(409, "ConflictError", "is not in the future"),
        "resume": ApiError(None, "Unreachable", "no route"),
    }
    if words == "pin x --database x":
        client.answers["pin"] = client.answers["history"]
    result = run(*words.split())
    exit_code, message = USAGE[words]
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert message in result.stderr


def test_a_text_that_is_harmless_is_printed_as_it_was_written(client: FakeClient) -> None:
    """A French colon follows a no-break space; a zero-width joiner makes an emoji of several."""
    why = "comparer\u00a0: décembre \U0001f468\u200d\U0001f4bb"
    client.answers["history"] = {"history": [VERSION | {"why": why}]}
    assert "comparer\u00a0: décembre " in run("history").stdout
    assert json.loads(run("history", "--json").stdout)["history"][0]["why"] == why


def test_what_others_wrote_controls_no_terminal(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "\x1b]0;x\x07[red]a\u202eb[/red]\r\nc"
    client.answers["history"] = {"history": [VERSION | {"why": hostile, "by": hostile}]}
    plain = run("history").stdout
    assert "?]0;x?[red]a?b[/red]? c" in plain
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "300")
    cli(["history"], standalone_mode=False)
    styled = capsys.readouterr().out
    assert "?]0;x?[red]a?b[/red]? c" in styled
    client.answers["status"] = status(problems=[hostile])
    assert printable(hostile) in run("status").stdout
    client.answers["status"] = ApiError(409, "Conflict", hostile)
    assert run("status").stderr == f"{printable(hostile)}.\n"


ADDRESS = "write an address such as https://ID.execute-api.eu-west-1.amazonaws.com/api\n"


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        ([], 2, "name a stage with --stage acceptance"),
        (["--url", ""], 2, "name a stage with --stage acceptance"),
        (["--stage", ""], 2, "name a stage with --stage acceptance"),
        (["--url", "foo"], 2, f"--url is 'foo': {ADDRESS}"),
        (["--url", "ftp://x/api"], 2, f"--url is 'ftp://x/api': {ADDRESS}"),
        (["--url", "https:///api"], 2, f"--url is 'https:///api': {ADDRESS}"),
        (["--url", "http://[x/api"], 2, f"--url is 'http://[x/api': {ADDRESS}"),
        (["--url", "http://x:y/api"], 2, f"--url is 'http://x:y/api': {ADDRESS}"),
        (
            ["--stage", "acceptance", "--profile", "none"],
            2,
            "The config profile (none) could not be found. Name one that exists: --profile or AWS_PROFILE.\n",
        ),
    ],
)
def test_without_a_stage_or_a_profile_that_exists_nothing_is_asked(
    monkeypatch: pytest.MonkeyPatch, words: list[str], exit_code: int, message: str
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "default")  # which the option overwrites
    result = run("status", *words)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert message in result.stderr


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        (["--stage", "test"], {"AURORA_REFRESH_URL": "https://a"}, ("test", None)),
        (["--stage", "test", "--url", "https://a"], {}, ("test", "https://a")),
        ([], {"AURORA_REFRESH_URL": "https://a"}, (None, "https://a")),
        (["--url", "https://a"], {"AURORA_REFRESH_STAGE": "test"}, ("test", "https://a")),
    ],
)
def test_a_stage_that_the_command_names_is_not_replaced_by_the_environment_s_address(
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    environment: dict[str, str],
    expected: tuple[str | None, str | None],
) -> None:
    connected = []

    def connect(stage: str | None, url: str | None) -> Target:
        connected.append((stage, url))
        return Target("test", FakeClient(database("orders", 7)))

    monkeypatch.setattr(operator, "connect", connect)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    run("status", *words)
    assert connected == [expected]


def test_a_named_profile_is_used_whatever_else_the_environment_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    profile = "[profile {0}]\naws_access_key_id = {0}\naws_secret_access_key = x\n"
    (tmp_path / "config").write_text(profile.format("wanted") + profile.format("other"))
    environment = {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_PROFILE": "other",
        "AWS_DEFAULT_PROFILE": "other",
        "AWS_ACCESS_KEY_ID": "other",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_SESSION_TOKEN": "x",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ROLE_ARN": "arn:aws:iam::222222222222:role/other",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    used = []

    def connect(*_: object) -> Target:
        used.append(Session().get_credentials().access_key)
        return Target("test", FakeClient(database("orders", 7)))

    monkeypatch.setattr(operator, "connect", connect)
    run("status", "--stage", "test", "--profile", "wanted")
    assert used == ["wanted"]


def test_ctrl_c_ends_with_a_word(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "status", interrupt, raising=False)
    result = run("status")
    assert (result.exit_code, result.stderr) == (1, "Stopped.\n")


CONFIGURE = f"{sys.executable} -m cli.main configure --stage acceptance --offline --dry-run"


def test_a_command_works_without_any_of_its_streams() -> None:
    shell = f"{CONFIGURE} 0<&- && {CONFIGURE} 1>&- && {CONFIGURE} 2>&-"
    subprocess.run(["bash", "-c", shell], check=True, capture_output=True)


def test_a_full_disk_ends_with_a_sentence(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = subprocess.run(
        ["bash", "-c", f"{CONFIGURE} >/dev/full"], check=False, capture_output=True
    )
    assert (full.returncode, full.stderr) == (1, b"[Errno 28] No space left on device\n")
    monkeypatch.setattr("cli.operator.say", Mock(side_effect=OSError(28, "no space")))
    assert run("status").stderr == "[Errno 28] no space\n"


def test_every_command_explains_itself() -> None:
    for words in ([], *([name] for name in cli.commands)):
        result = run(*words, "--help")
        assert (result.exit_code, result.stdout.startswith("Usage: ")) == (0, True)
