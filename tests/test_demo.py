"""How the demo ends if something goes wrong; tests/test_readme.py is about its transcript."""

import signal
import sys
from contextlib import nullcontext
from unittest.mock import Mock

import pytest

from demo import __main__ as demo
from demo.output import Unexpected


@pytest.mark.parametrize(
    ("end", "arguments", "status"),
    [
        (Unexpected("found outcome skipped"), (), 1),
        (RuntimeError("chalice deploy failed"), (), 1),
        (KeyboardInterrupt(), (), 130),
        (None, ("--keep",), 0),  # and then interrupted
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
