"""Run an action on independent items: an AwsError of one does not stop the others."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from chalicelib.domain.errors import AwsError

Item = TypeVar("Item")
Output = TypeVar("Output")


def run_each(
    items: Iterable[Item], action: Callable[[Item], Output]
) -> tuple[list[Output], list[tuple[Item, AwsError]]]:
    """Return the results, and the failed items with their errors."""
    results: list[Output] = []
    failed: list[tuple[Item, AwsError]] = []
    for item in items:
        try:
            results.append(action(item))
        except AwsError as error:
            failed.append((item, error))
    return results, failed


def raise_errors(failed: Iterable[tuple[object, AwsError]]) -> None:
    """Raise the first error of the failed items, if any, with the others as its notes."""
    errors = [error for _, error in failed]
    if errors:
        raise combine_errors(errors)


def combine_errors(errors: Iterable[AwsError]) -> AwsError:
    """Return the first error, with the others as its notes."""
    first, *others = errors
    for other in others:
        first.add_note(str(other))
    return first
