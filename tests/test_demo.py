"""How the demo ends if something goes wrong; tests/test_readme.py is about its transcript."""

import signal
import sys
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import WaiterError

from demo import __main__ as demo
from demo.orders import NIGHT
from demo.output import Unexpected, fire


@pytest.mark.parametrize(
    ("end", "arguments", "status"),
    [
        (Unexpected("found outcome skipped"), (), 1),
        (RuntimeError("chalice deploy failed"), (), 1),
        (WaiterError("snapshot", "Max attempts exceeded", {}), (), 1),
        (KeyboardInterrupt(), (), 130),
        (None, ("--keep",), 0),  # and then interrupted
        (None, (), 0),
    ],
)
def test_an_end_has_its_status_and_a_failure_its_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    end: BaseException | None,
    arguments: tuple[str, ...],
    status: int,
) -> None:
    monkeypatch.setattr(sys, "argv", ["demo", *arguments])
    monkeypatch.setattr(signal, "signal", Mock())
    monkeypatch.setattr(demo, "LocalCloud", Mock(start=nullcontext))
    monkeypatch.setitem(demo.SCENARIOS, "orders", Mock(side_effect=end))
    monkeypatch.setattr(demo, "invite", Mock(side_effect=KeyboardInterrupt))
    assert demo.main() == status
    errors = capsys.readouterr().err.strip().splitlines()
    assert [line.endswith(str(end)) for line in errors] == [True] * (status == 1)


def test_a_function_that_fails_is_reported_in_a_few_words() -> None:
    error = {"errorType": "Denied", "errorMessage": "no", "stackTrace": ["x" * 10_000]}
    company = Mock()
    company.cloud.fire.return_value = [{"status": "failed", "error": error}]
    with pytest.raises(Unexpected) as caught:
        fire(company, "db-restore", NIGHT)
    assert str(caught.value) == "found db-restore failed: errorType Denied, errorMessage no"


def test_what_is_suggested_answers_at_once_and_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signal, "pause", Mock())
    cloud = SimpleNamespace(endpoint="http://x")
    databases = [SimpleNamespace(source=name) for name in ("orders", "billing")]
    company: Any = SimpleNamespace(cloud=cloud, databases=databases, current="/current")
    demo.invite(company)
    *_, suggested, ours, needed, aws = capsys.readouterr().out.strip().split("\n\n")
    assert suggested.endswith("export AURORA_REFRESH_STAGE=local")
    commands = [line.partition("/aurora-refresh ")[2] for line in ours.splitlines()]
    named = "--database orders"
    assert commands == ["status", f"history {named}", f"snapshots {named}", "console"]
    assert needed == "With the AWS CLI, which has to be installed:"
    assert {line.split()[0] for line in aws.splitlines()} == {"aws"}
