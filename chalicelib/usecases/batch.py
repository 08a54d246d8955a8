"""Run an action on independent items: an AwsError of one does not stop the others."""

from collections.abc import Callable, Iterable, Sequence
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


def raise_errors(failed: Sequence[tuple[object, AwsError]], notes: Iterable[str] = ()) -> None:
    """Raise the first error of the failed items, if any, with the others and `notes` as its notes."""
    if failed:
        first, *others = (error for _, error in failed)
        for note in (*map(str, others), *notes):
            first.add_note(note)
        raise first
