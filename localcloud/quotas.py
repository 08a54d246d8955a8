"""How many executions of functions an account may run at once, and how many of these may be reserved.

Restores *GetAccountSettings* (Lambda API reference), which moto lacks, and *Configuring reserved concurrency* (Lambda
Developer Guide): the quota is 1,000 a Region, as in an account that has asked for no other, and 100 of these stay for
the functions that reserve none. Storage and code size are not restored.
"""

import json
import os

from moto.awslambda import urls
from moto.awslambda.responses import LambdaResponse

QUOTA = 1000


class QuotaResponse(LambdaResponse):
    """moto's Lambda API with the account's settings."""

    def get_account_settings(self) -> tuple[int, dict[str, str], str]:
        """*GetAccountSettings*."""
        functions = list(self.backend.list_functions())
        reserved = sum(int(function.reserved_concurrency or 0) for function in functions)
        limit = {"ConcurrentExecutions": QUOTA, "UnreservedConcurrentExecutions": QUOTA - reserved}
        usage = {"FunctionCount": len(functions)}
        return 200, {}, json.dumps({"AccountLimit": limit, "AccountUsage": usage})


def install() -> None:
    """Add the operation, and let moto keep to the quota, which it does if it is told one."""
    os.environ["MOTO_LAMBDA_CONCURRENCY_QUOTA"] = str(QUOTA)
    urls.url_paths["{0}/(?P<api_version>[^/]+)/account-settings/?$"] = QuotaResponse.dispatch
