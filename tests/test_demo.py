"""How the demo ends if something goes wrong; tests/test_readme.py is about its transcript."""

import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import WaiterError

from demo import __main__ as demo
from demo.orders import NIGHT
from demo.output import Unexpected, fire

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the demo on no cloud, with a scenario that ends so; return its exit status."""

    def run_demo(end: BaseException | None, *arguments: str) -> int:
        def raising(error: BaseException | None) -> Callable[..., None]:
            def play(*_: Any) -> None:
                if error is not None:
                    raise error

            return play

        monkeypatch.setattr(sys, "argv", ["demo", *arguments])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        monkeypatch.setattr(demo, "LocalCloud", SimpleNamespace(start=lambda: nullcontext(None)))
        monkeypatch.setitem(demo.SCENARIOS, "orders", raising(end))
        monkeypatch.setattr(demo, "invite", raising(KeyboardInterrupt()))
        return demo.main()

    return run_demo


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
    run: Run,
    capsys: pytest.CaptureFixture[str],
    end: BaseException | None,
    arguments: tuple[str, ...],
    status: int,
) -> None:
    assert run(end, *arguments) == status
    errors = capsys.readouterr().err.strip().splitlines()
    assert [line.endswith(str(end)) for line in errors] == [True] * (status == 1)


def test_a_function_that_fails_is_reported_in_a_few_words() -> None:
    error = {"errorType": "Denied", "errorMessage": "no", "stackTrace": ["x" * 10_000]}
    record = {"status": "failed", "error": error}
    company: Any = SimpleNamespace(
        cloud=SimpleNamespace(set_clock=lambda _: None, fire=lambda *_: [record])
    )
    with pytest.raises(Unexpected) as caught:
        fire(company, "db-restore", NIGHT)
    assert str(caught.value) == "found db-restore failed: errorType Denied, errorMessage no"
