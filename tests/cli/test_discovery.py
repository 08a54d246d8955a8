"""What `configure` finds in the account, and what it says if it finds nothing."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from cli import discovery
from cli.stages import AcceptanceStage, load

PROJECT = Path(__file__).resolve().parents[2]


STAGE = load(PROJECT, "acceptance")
assert isinstance(STAGE, AcceptanceStage)


def test_a_topic_s_key_that_does_not_exist_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(topic_key=lambda _: "gone", key=lambda _: None)
    monkeypatch.setattr(discovery, "Look", lambda *_: found)
    notes: list[str] = []
    assert discovery.find_topic_keys(notes.append, STAGE) is None
    assert notes == ["the keys of the topics stay as they were (there is no key gone)"]


def test_a_pipeline_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "caller", lambda *_: ({"Account": STAGE.account}, None))
    found = SimpleNamespace(pipeline=lambda _: None)
    monkeypatch.setattr(discovery, "AcceptanceLook", lambda *_: found)
    notes: list[str] = []
    assert discovery.find_stack_names(notes.append, STAGE, ["RDS_STACK_NAME"]) == {}
    why = f"(there is no pipeline {STAGE.pipeline})"
    assert notes[0].startswith(f"RDS_STACK_NAME is not set {why}. Without it")
