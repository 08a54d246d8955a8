"""Compared with the Lambda API reference and Developer Guide: the account's concurrency."""

from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError

from localcloud.client import LocalCloud


def unreserved(cloud: LocalCloud) -> int:
    limit = cloud.client("lambda").get_account_settings()["AccountLimit"]
    assert limit["ConcurrentExecutions"] == 1000
    left: int = limit["UnreservedConcurrentExecutions"]
    return left


def test_what_a_function_reserves_is_no_longer_unreserved_until_100_are_left(
    cloud: LocalCloud, deploy: Callable[..., str]
) -> None:
    functions = cloud.client("lambda")
    deploy("def handler(event, context): return event")
    assert unreserved(cloud) == 1000
    functions.put_function_concurrency(FunctionName="probe", ReservedConcurrentExecutions=900)
    assert unreserved(cloud) == 100
    with pytest.raises(ClientError, match="InvalidParameterValueException"):
        functions.put_function_concurrency(FunctionName="probe", ReservedConcurrentExecutions=901)
    assert unreserved(cloud) == 100
    functions.delete_function_concurrency(FunctionName="probe")
    assert unreserved(cloud) == 1000
