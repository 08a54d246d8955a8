"""How the demo ends if something goes wrong; tests/test_readme.py is about its transcript."""

import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from demo import __main__ as demo

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the demo on no cloud, with a scenario that ends so; return its exit status."""

    def run_demo(scenario: Exception | BaseException | None, *arguments: str) -> int:
        def play(_: Any) -> None:
            if scenario is not None:
                raise scenario

        def interrupted(_: Any) -> None:
            raise KeyboardInterrupt

        cloud = SimpleNamespace(start=lambda: nullcontext(None))
        monkeypatch.setattr(sys, "argv", ["demo", *arguments])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        monkeypatch.setattr(demo, "LocalCloud", cloud)
        monkeypatch.setattr(demo, "Company", lambda _cloud, project, run_seconds: project)
        monkeypatch.setattr(demo, "run_orders", play)
        monkeypatch.setattr(demo, "invite", interrupted)
        return demo.main()

    return run_demo


@pytest.mark.parametrize(
    "error",
    [
        demo.Unexpected("found outcome skipped"),
        RuntimeError("chalice deploy failed"),
        TimeoutError("waited 60 s"),
        ValueError(".chalice/config.json is no JSON"),
    ],
)
def test_a_failure_is_one_line(
    run: Run, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    assert run(error) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.endswith(str(error))


@pytest.mark.parametrize(
    ("scenario", "arguments", "status"),
    [(KeyboardInterrupt(), (), 130), (None, ("--keep",), 0), (None, (), 0)],
)
def test_an_interruption_is_a_success_only_once_the_demo_is_done(
    run: Run, scenario: BaseException | None, arguments: tuple[str, ...], status: int
) -> None:
    assert run(scenario, *arguments) == status


def test_a_signal_ends_the_demo_by_an_exception_and_only_the_first_one_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that the cloud is stopped and the copy removed undisturbed."""
    set_to: dict[int, Any] = {}
    monkeypatch.setattr(signal, "signal", set_to.__setitem__)
    with pytest.raises(SystemExit) as left:
        demo.leave(signal.SIGTERM, None)
    assert left.value.code == 128 + 15
    assert set_to == dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN)


def test_the_project_is_deployed_from_a_copy_that_goes_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []

    def copied(project: Path, copy: Path) -> None:
        assert (project, copy.is_dir()) == (demo.PROJECT, True)
        seen.append(copy)

    monkeypatch.setattr(demo, "copy_project", copied)
    run(None)
    (copy,) = seen
    assert not copy.exists()


def test_a_function_that_fails_is_reported_in_a_few_words() -> None:
    error = {"errorType": "Denied", "errorMessage": "no", "stackTrace": ["x" * 10_000]}
    record = {"status": "failed", "error": error, "log": "x" * 10_000}
    company: Any = SimpleNamespace(
        cloud=SimpleNamespace(set_clock=lambda _: None, fire=lambda *_: [record])
    )
    with pytest.raises(demo.Unexpected) as caught:
        demo.fire(company, "db-restore", demo.NIGHT)
    assert str(caught.value) == "found db-restore failed: errorType Denied, errorMessage no"


def test_without_an_api_nothing_is_pinned(capsys: pytest.CaptureFixture[str]) -> None:
    company: Any = SimpleNamespace(cloud=SimpleNamespace(rest_url=lambda: None))
    demo.pin(company)
    assert "PIN_API_ENABLED is false" in capsys.readouterr().out
