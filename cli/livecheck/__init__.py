"""The live check: verify the assumptions about AWS in a sandbox account."""

import signal
from collections.abc import Callable, Iterator

from botocore.exceptions import BotoCoreError, ClientError

from cli.livecheck.facts import DIFFERS, EXPERIMENTS, FACTS, Experiment, Fact, NotTried
from cli.livecheck.sandbox import Sandbox

_MADE = "parameters, a pipeline with its bucket and its role, a stack, a rule and a queue"
_CLUSTERS = "two Aurora clusters without instances and three snapshots"
# What a check makes, without clusters and with them, how long it takes, and what it costs at most. A pipeline
# of type V1 is free for 30 days after its creation. A cluster without instances pays for its storage alone.
# https://aws.amazon.com/codepipeline/pricing/
# https://aws.amazon.com/rds/aurora/pricing/
COST = {
    False: f"{_MADE}; it takes about 10 minutes and costs less than 0.01 USD",
    True: f"{_MADE}, {_CLUSTERS}; it takes about 45 minutes and costs less than 0.10 USD",
}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def check(box: Sandbox, say: Callable[[str], None]) -> tuple[list[Fact], list[str]]:
    """Try each fact in a sandbox that is deleted at the end, even if the check is stopped.

    Return the facts with their verdicts, and the problems: what could not be deleted, or that the check was
    stopped.
    """
    found: list[Fact] = []
    problems: list[str] = []
    before = {number: signal.signal(number, signal.default_int_handler) for number in _SIGNALS}
    try:
        for experiment in EXPERIMENTS:
            say(f"trying {experiment.__name__}")
            found.extend(_tried(experiment, box))
    except KeyboardInterrupt:
        problems.append("the check was stopped")
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        say(f"deleting everything named {box.name}")
        problems.extend(box.close())
        for number, handler in before.items():
            signal.signal(number, handler)
    return found, problems


def is_well(found: list[Fact], problems: list[str]) -> bool:
    """Return whether nothing differs, and nothing is left."""
    return not problems and all(fact.verdict != DIFFERS for fact in found)


def _tried(experiment: Experiment, box: Sandbox) -> Iterator[Fact]:
    remaining = {each.fact: each for each in FACTS if each.experiment == experiment.__name__}
    reason = ""
    try:
        for name, answer in experiment(box):
            yield remaining.pop(name).judged(answer)
    except (NotTried, ClientError, BotoCoreError) as error:
        reason = str(error)
    for fact in remaining.values():
        yield fact._replace(found=reason)
