"""Run every 15 minutes, whether or not events arrive."""

from chalicelib.domain.results import Result, combine
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.batch import run_each
from chalicelib.usecases.reconcile import reconcile
from chalicelib.usecases.update_latest import follow_copies

# What became of copies, in the words of a poll; each database keeps its own outcome.
_OUTCOMES = {"updated": "succeeded", "unchanged": "ignored"}


def poll(settings: Settings, aws: Aws) -> Result:
    """Reconcile, and finish copies if there are any; the result has the errors of both."""
    results, errors = run_each([reconcile, follow_copies], lambda step: step(settings, aws))
    of_results = [error for result in results for error in result.errors]
    entries = [entry for result in results for entry in result.databases]
    result = combine(entries) if entries else results[0] if results else Result("ignored")
    outcome = _OUTCOMES.get(result.outcome, result.outcome)
    return result._replace(outcome=outcome, errors=(*errors, *of_results))
