"""A PostgreSQL for the benchmarks and the tests: on this machine, for this run."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from tools.broker import HOST, free_port

_USER = "scanside"
_SERVER_USER = "postgres"  # Debian's; PostgreSQL does not run as root


class PostgresStartError(RuntimeError):
    """PostgreSQL is not installed, or did not start. The text says what to do."""


class LocalPostgres:
    """A server of our own, with its data in a new folder; `stop` removes it.

    It listens on one port of this machine and takes everybody's word for who he is, so it is for
    nothing but tests.

    Parameters
    ----------
    durable : bool
        Whether a commit waits for the disk, as it must wherever alerts matter.
    """

    def __init__(self, *, durable: bool = True) -> None:
        self._durable = durable
        programs = find_postgres()
        if programs is None:
            msg = "PostgreSQL is not installed: apt-get install postgresql"
            raise PostgresStartError(msg)
        self.port = free_port()
        self._programs = programs
        # Not in a test's own folder: the server's user could not enter it.
        self._folder = Path(tempfile.mkdtemp(prefix="scanside-postgres-"))
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam(_SERVER_USER)
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._as_user = ["runuser", "-u", _SERVER_USER, "--"]
        self._data = self._folder / "data"

    def start(self) -> None:
        """Make the server's files and start it.

        Raises
        ------
        PostgresStartError
            When it does not; the text has its log's tail.
        """
        self._run("initdb", "-D", str(self._data), "-U", _USER, "--auth=trust", "--no-sync")
        self.start_again()

    def start_again(self) -> None:
        """Start it on what it kept; raises as `start` does."""
        options = f"-p {self.port} -k {self._folder} -c listen_addresses={HOST}"
        options += f" -c fsync={'on' if self._durable else 'off'}"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self._data), "-l", log, "-w", "-o", options, "start")

    def halt(self) -> None:
        """Stop it and cut every connection off; `start_again` brings it back."""
        self._run("pg_ctl", "-D", str(self._data), "-m", "fast", "stop")

    def database(self, name: str) -> str:
        """Make a database; return its address."""
        self._run("createdb", "-h", HOST, "-p", str(self.port), "-U", _USER, name)
        return f"postgresql://{_USER}@{HOST}:{self.port}/{name}"

    def stop(self) -> None:
        """Stop it and remove its files."""
        if (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._as_user, str(self._programs / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the server inherits it and would hold a pipe open
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            check=False,
        )
        if done.returncode != 0:
            log = self._folder / "log"
            tail = log.read_text("utf-8", "replace").splitlines()[-3:] if log.exists() else []
            msg = f"{program} failed: {' | '.join(tail)}"
            raise PostgresStartError(msg)


def find_postgres() -> Path | None:
    """Return the folder with the programs of the newest PostgreSQL, or None."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda file: int(file.parts[-3])
    )
    if found:
        return found[-1].parent
    program = shutil.which("postgres")
    return None if program is None else Path(program).parent
