"""The environment variables with which any AWS tool calls this cloud, and nothing else.

The user's own variables must not interfere (*Environment variables to configure the AWS CLI*): a profile or a
session token would be combined with this cloud's key, and ``AWS_ENDPOINT_URL_LAMBDA`` would send a call to AWS.
"""

import os
import shlex
from collections.abc import Mapping

from localcloud.accounts import REGION, Key


def of(endpoint: str, key: Key) -> dict[str, str]:
    """Return the variables with which a tool calls the cloud as the key's user."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key.access_key_id,
        "AWS_SECRET_ACCESS_KEY": key.secret_access_key,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        # Some tools read one of them, some the other.
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def cleared(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the user's settings for AWS, and without proxies."""
    return {
        name: value
        for name, value in environment.items()
        if not name.upper().startswith("AWS_") and not name.upper().endswith("_PROXY")
    }


def shell(endpoint: str, key: Key) -> str:
    """Return the shell commands that unset the user's AWS variables and export these."""
    exports = [f"export {name}={shlex.quote(value)}" for name, value in of(endpoint, key).items()]
    return "\n".join(["unset AWS_PROFILE $(env | grep -o '^AWS_[A-Z0-9_]*')", *exports])
