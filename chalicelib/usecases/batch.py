"""Run an action on independent items: an AwsError of one does not stop the others."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from chalicelib.domain.errors import AwsError, RefreshError

Item = TypeVar("Item")
Output = TypeVar("Output")


def run_each(
    items: Iterable[Item], action: Callable[[Item], Output]
) -> tuple[list[Output], list[AwsError]]:
    """Return the results, and the errors of the failed items."""
    results: list[Output] = []
    errors: list[AwsError] = []
    for item in items:
        try:
            results.append(action(item))
        except AwsError as error:
            errors.append(error)
    return results, errors


def raise_errors(errors: Sequence[RefreshError], notes: Iterable[str] = ()) -> None:
    """Raise the first error, if any, with the others and `notes` as its notes."""
    if errors:
        first, *others = errors
        for note in (*map(str, others), *notes):
            first.add_note(note)
        raise first
