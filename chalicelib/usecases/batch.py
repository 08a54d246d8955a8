"""Acting for each of several that are independent: what AWS did not do for one stops none of the others."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from chalicelib.domain.errors import AwsError

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_each(
    items: Iterable[Item], act: Callable[[Item], Result]
) -> tuple[list[Result], list[tuple[Item, AwsError]]]:
    """What came of each, and for which AWS did not do what."""
    results: list[Result] = []
    missed: list[tuple[Item, AwsError]] = []
    for item in items:
        try:
            results.append(act(item))
        except AwsError as error:
            missed.append((item, error))
    return results, missed


def combine_errors(errors: Iterable[AwsError]) -> AwsError:
    """The first of some errors, which tells of the others, too."""
    first, *others = errors
    for other in others:
        first.add_note(str(other))
    return first
