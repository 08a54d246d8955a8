"""The live check: verify the assumptions about AWS in a sandbox account."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from cli.livecheck.facts import EXPERIMENTS, FACTS, Experiment, Fact, NotTried
from cli.livecheck.sandbox import Sandbox

AS_EXPECTED, HANDLED, DIFFERS, NOT_TRIED = "as expected", "handled", "differs", "not tried"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Finding(NamedTuple):
    """A fact, and what was found; if it was not tried, the reason."""

    fact: Fact
    verdict: str
    found: str


@dataclass
class Report:
    """What a check found, and what it could not delete, with AWS's reasons."""

    findings: list[Finding] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    stopped: bool = False

    def is_well(self) -> bool:
        """Return whether nothing differs and nothing is left."""
        differs = any(finding.verdict == DIFFERS for finding in self.findings)
        return not (differs or self.left or self.stopped)

    def to_json(self) -> dict[str, Any]:
        """Return the report for scripts."""
        findings = [
            {
                "fact": fact.name,
                "claim": fact.claim,
                "expected": fact.expected or None,
                "found": found,
                "verdict": verdict,
                "source": fact.source,
            }
            for fact, verdict, found in self.findings
        ]
        return {"findings": findings, "left": self.left, "stopped": self.stopped}


def cost(*, with_cluster: bool) -> str:
    """Return what a check makes, how long it takes, and what it costs at most.

    A pipeline of type V1 is free for 30 days after its creation. A cluster without instances pays for
    its storage alone.
    https://aws.amazon.com/codepipeline/pricing/
    https://aws.amazon.com/rds/aurora/pricing/
    """
    made = "parameters, a queue, rules, a pipeline with its bucket and its role, a stack"
    if with_cluster:
        return (
            f"{made}, two Aurora clusters without instances and three snapshots; it takes about 45 minutes "
            "and costs less than 0.10 USD"
        )
    return f"{made}; it takes about 10 minutes and costs less than 0.01 USD"


def check(box: Sandbox, say: Callable[[str], None]) -> Report:
    """Try each fact in a sandbox that is deleted at the end, even if the check is told to stop."""
    report = Report()
    with _on_signals(signal.default_int_handler):
        try:
            for experiment in EXPERIMENTS:
                say(f"trying {experiment.__name__.replace('_', ' ')}")
                report.findings.extend(_findings(experiment, box))
        except KeyboardInterrupt:
            report.stopped = True
        finally:
            with _on_signals(signal.SIG_IGN):
                say(f"deleting everything named {box.name}")
                report.left = box.close()
    return report


def _findings(experiment: Experiment, box: Sandbox) -> Iterator[Finding]:
    remaining = {each.name: each for each in FACTS if each.experiment == experiment.__name__}
    reason = ""
    try:
        for name, found in experiment(box):
            fact = remaining.pop(name)
            verdict = AS_EXPECTED if found == fact.expected else DIFFERS
            yield Finding(fact, verdict if fact.expected else HANDLED, found)
    except (NotTried, ClientError, BotoCoreError) as error:
        reason = str(error)
    for fact in remaining.values():
        yield Finding(fact, NOT_TRIED, reason)


@contextmanager
def _on_signals(handler: Any) -> Iterator[None]:
    """Have the handler receive the signals to stop."""
    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
