"""Compared with the Lambda Developer Guide and with botocore's model of Lambda."""

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud import environments
from localcloud.client import LocalCloud
from localcloud.environments import Credentials, Environment, Libraries, Specification

Deploy = Callable[..., str]
Invoke = Callable[..., tuple[str | None, Any]]

# "Defined runtime environment variables", and what Python itself may add to a C locale.
DOCUMENTED = {
    "_HANDLER",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "LANG",
    "PATH",
    "TZ",
}


def test_the_environment_holds_what_lambda_documents_and_the_functions_own(
    cloud: LocalCloud, deploy: Deploy, invoke: Invoke
) -> None:
    deploy(
        "import os\ndef handler(event, context): return dict(os.environ)",
        Environment={"Variables": {"SOURCE_ACCOUNT": "111111111111"}},
    )
    _, environment = invoke()
    assert set(environment) - {"LC_CTYPE"} == DOCUMENTED | {"SOURCE_ACCOUNT", "AWS_ENDPOINT_URL"}
    assert environment["AWS_ENDPOINT_URL"] == cloud.endpoint


def test_a_function_imports_its_package_and_the_runtime_and_nothing_else(
    deploy: Deploy, invoke: Invoke
) -> None:
    """This machine has chalice and moto installed; Lambda has not."""
    deploy(
        """
        import importlib.util
        def handler(event, context):
            return [name for name in event if importlib.util.find_spec(name)]
        """
    )
    names = ["app", "boto3", "botocore", "awslambdaric", "dateutil", "chalice", "moto", "pytest"]
    assert invoke(names)[1] == ["app", "boto3", "botocore", "awslambdaric", "dateutil"]


def test_a_function_holds_its_own_roles_credentials(deploy: Deploy, invoke: Invoke) -> None:
    deploy(
        """
        import boto3
        def handler(event, context):
            return boto3.client("sts").get_caller_identity()["Arn"]
        """
    )
    assert invoke() == (None, "arn:aws:sts::222222222222:assumed-role/probe-role/probe")


def test_the_context_is_that_of_lambda(deploy: Deploy, invoke: Invoke) -> None:
    arn = deploy(
        """
        def handler(event, context):
            return [context.function_name, context.invoked_function_arn, context.memory_limit_in_mb]
        """,
        MemorySize=256,
    )
    assert invoke()[1] == ["probe", arn, "256"]


def test_an_exception_is_an_unhandled_function_error(deploy: Deploy, invoke: Invoke) -> None:
    deploy("def handler(event, context): raise ValueError('no')")
    error, payload = invoke()
    assert (error, payload["errorType"], payload["errorMessage"]) == (
        "Unhandled",
        "ValueError",
        "no",
    )
    assert set(payload) == {"errorType", "errorMessage", "requestId", "stackTrace"}


def test_a_package_that_cannot_be_imported_is_an_import_module_error(
    deploy: Deploy, invoke: Invoke
) -> None:
    deploy("import chalice")
    error, payload = invoke()
    assert (error, payload["errorType"]) == ("Unhandled", "Runtime.ImportModuleError")
    assert payload["errorMessage"] == "Unable to import module 'app': No module named 'chalice'"


def test_a_function_out_of_time_is_killed_and_the_next_one_is_cold(
    cloud: LocalCloud, deploy: Deploy, invoke: Invoke
) -> None:
    deploy("import time\ndef handler(event, context): time.sleep(event)", Timeout=1)
    error, payload = invoke(5)
    assert error == "Unhandled"
    assert payload["errorMessage"].endswith("Task timed out after 1.00 seconds")
    assert invoke(0.01) == (None, None)
    assert [record["cold"] for record in cloud.invocations()] == [True, True]


def test_a_warm_environment_is_used_again_until_code_or_configuration_change(
    cloud: LocalCloud, deploy: Deploy, redeploy: Callable[[str], None], invoke: Invoke
) -> None:
    source = "import os\ndef handler(event, context): return os.getpid()"
    deploy(source)
    first, second = invoke()[1], invoke()[1]
    redeploy(source + "\n")
    third = invoke()[1]
    cloud.client("lambda").update_function_configuration(FunctionName="probe", Timeout=7)
    fourth = invoke()[1]
    assert first == second
    assert len({first, third, fourth}) == 3


def test_output_belongs_to_its_own_invocation(
    cloud: LocalCloud, deploy: Deploy, invoke: Invoke
) -> None:
    deploy("def handler(event, context): print('event', event)")
    for number in (1, 2):
        invoke(number)
    logs = [record["log"].splitlines()[1:-2] for record in cloud.invocations("probe")]
    assert logs == [["event 1"], ["event 2"]]


SLOW = """
import time
def handler(event, context):
    time.sleep(event)
    return event
"""


def test_concurrent_invocations_get_environments_of_their_own(
    cloud: LocalCloud, deploy: Deploy, invoke: Invoke
) -> None:
    deploy(SLOW)
    threads = [threading.Thread(target=invoke, args=(0.6,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record["cold"] for record in cloud.invocations()] == [True, True]


def test_a_throttled_event_waits_and_uses_up_no_attempt(cloud: LocalCloud, deploy: Deploy) -> None:
    deploy(SLOW)
    functions = cloud.client("lambda")
    functions.put_function_concurrency(FunctionName="probe", ReservedConcurrentExecutions=1)
    for _ in range(2):
        functions.invoke(FunctionName="probe", InvocationType="Event", Payload="0.3")
    cloud.wait_until_idle()
    outcomes = [(record["attempt"], record["status"]) for record in cloud.invocations()]
    assert outcomes == [(1, "succeeded"), (1, "succeeded")]


def test_a_failed_event_is_tried_twice_more_as_it_was(cloud: LocalCloud, deploy: Deploy) -> None:
    deploy("def handler(event, context): print(event, context.aws_request_id); 1 / 0")
    cloud.set_retries([0.1, 0.1])
    answer = cloud.client("lambda").invoke(
        FunctionName="probe", InvocationType="Event", Payload='{"b": 1,  "a": 2}'
    )
    assert answer["StatusCode"] == 202
    cloud.wait_until_idle()
    records = cloud.invocations("probe")
    assert [record["attempt"] for record in records] == [1, 2, 3]
    assert {record["error"]["errorType"] for record in records} == {"ZeroDivisionError"}
    assert {json.dumps(record["event"]) for record in records} == {'{"b": 1, "a": 2}'}
    assert len({record["request_id"] for record in records}) == 1


def test_the_functions_own_number_of_attempts_counts(cloud: LocalCloud, deploy: Deploy) -> None:
    deploy("def handler(event, context): 1 / 0")
    functions = cloud.client("lambda")
    functions.put_function_event_invoke_config(FunctionName="probe", MaximumRetryAttempts=0)
    functions.invoke(FunctionName="probe", InvocationType="Event", Payload="{}")
    cloud.wait_until_idle()
    assert [record["attempt"] for record in cloud.invocations()] == [1]


def test_the_calls_of_a_function_are_known_as_its_own(
    cloud: LocalCloud, deploy: Deploy, invoke: Invoke
) -> None:
    deploy(
        """
        import boto3
        def handler(event, context):
            boto3.client("sts").get_caller_identity()
        """
    )
    invoke()
    assert [call["operation"] for call in cloud.calls("probe")] == ["sts:GetCallerIdentity"]


def test_a_function_can_be_killed_in_the_middle_of_a_call(
    cloud: LocalCloud, deploy: Deploy, invoke: Invoke
) -> None:
    deploy(
        """
        import boto3
        def handler(event, context):
            boto3.client("sts").get_caller_identity()
        """
    )
    cloud.set_faults([{"operation": "sts:GetCallerIdentity", "kind": "kill-before"}])
    error, payload = invoke()
    assert (error, payload["errorType"]) == ("Unhandled", "Runtime.ExitError")


SLOW_WITH_PID = """
import os, pathlib, time
def handler(event, context):
    pathlib.Path(event["file"]).write_text(str(os.getpid()))
    time.sleep(event["seconds"])
"""


def begin(cloud: LocalCloud, file: Path, seconds: float) -> int:
    """Invoke ``probe``; the id of the process that is at work on it."""
    payload = json.dumps({"file": str(file), "seconds": seconds})
    cloud.client("lambda").invoke(FunctionName="probe", InvocationType="Event", Payload=payload)
    return int(eventually(lambda: file.exists() and file.read_text()))


def eventually(done: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 10
    while not (found := done()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_reset_kills_what_is_running_and_what_is_idle(
    cloud: LocalCloud, deploy: Deploy, tmp_path: Path
) -> None:
    deploy(SLOW_WITH_PID, Timeout=60)
    idle = begin(cloud, tmp_path / "idle", 0)
    cloud.wait_until_idle()
    busy = [begin(cloud, tmp_path / f"busy-{number}", 50) for number in range(2)]
    assert idle in busy
    cloud.reset()
    cloud.wait_until_idle(timeout=1)
    assert cloud.invocations() == []
    for pid in busy:
        eventually(lambda pid=pid: is_gone(pid))


def test_a_function_whose_role_does_not_exist_does_not_run(
    cloud: LocalCloud, deploy: Deploy
) -> None:
    deploy(SLOW)
    cloud.client("iam").delete_role(RoleName="probe-role")
    functions = cloud.client("lambda")
    with pytest.raises(ClientError, match="cannot be assumed by Lambda") as caught:
        functions.invoke(FunctionName="probe", Payload="0")
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    functions.invoke(FunctionName="probe", InvocationType="Event", Payload="0")
    cloud.wait_until_idle()
    assert cloud.invocations() == []


def test_an_environment_that_cannot_start_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, plain_environment: Callable[[str], Environment]
) -> None:
    closed = []
    close = environments._RuntimeApi.server_close  # noqa: SLF001
    monkeypatch.setattr(
        environments._RuntimeApi,  # noqa: SLF001
        "server_close",
        lambda api: closed.append(close(api)),
    )
    monkeypatch.setattr(environments.sys, "executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        plain_environment("")
    assert len(closed) == 1


@pytest.fixture
def plain_environment(tmp_path: Path) -> Iterator[Callable[[str], Environment]]:
    """Makes environments without awslambdaric, as on a machine that it has no wheel for."""
    made = []

    def make(source: str) -> Environment:
        for name in ("task", "runtime", "machine", "e"):
            (tmp_path / name).mkdir()
        (tmp_path / "task" / "app.py").write_text(source)
        specification = Specification(
            account="222222222222",
            region="eu-west-1",
            name="probe",
            arn="arn:aws:lambda:eu-west-1:222222222222:function:probe",
            role="arn:aws:iam::222222222222:role/probe-role",
            handler="app.handler",
            runtime="python3.11",
            timeout=5,
            memory=128,
            variables=(),
            code_sha256="",
        )
        libraries = Libraries(tmp_path / "task", tmp_path / "runtime", tmp_path / "machine")
        environment = Environment(
            specification, libraries, Credentials("A", "B", "C"), "http://none", tmp_path / "e"
        )
        made.append(environment)
        return environment

    yield make
    for environment in made:
        environment.end()


def test_without_awslambdaric_a_plain_loop_runs_the_package(
    plain_environment: Callable[[str], Environment],
) -> None:
    environment = plain_environment(
        "def handler(event, context): return [1 / event, context.aws_request_id]"
    )
    good, bad = environment.invoke("one", b"2"), environment.invoke("two", b"0")
    assert (good.succeeded, json.loads(good.payload)) == (True, [0.5, "one"])
    assert (bad.succeeded, json.loads(bad.payload)["errorType"]) == (False, "ZeroDivisionError")


def test_a_killed_function_s_connection_is_no_error_of_the_cloud(
    plain_environment: Callable[[str], Environment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To print a traceback parses code, which CPython 3.11 must not do in two threads at a time."""
    api = plain_environment("def handler(event, context): pass")._api  # noqa: SLF001
    errors, done = [], threading.Event()
    monkeypatch.setattr(api, "handle_error", lambda *_: errors.append("printed"))
    monkeypatch.setattr(api, "shutdown_request", lambda request: (request.close(), done.set()))
    with socket.create_connection(api.server_address) as connection:
        reset_when_closed = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_when_closed)
        connection.sendall(b"GET /")
    assert done.wait(10)
    assert errors == []


def test_without_awslambdaric_an_import_error_has_lambdas_name(
    plain_environment: Callable[[str], Environment],
) -> None:
    outcome = plain_environment("import chalice").invoke("one", b"{}")
    assert json.loads(outcome.payload)["errorType"] == "Runtime.ImportModuleError"
