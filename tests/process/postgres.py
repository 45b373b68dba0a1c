"""A PostgreSQL of its own in a temporary folder, as the user postgres where the tests are root."""

import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile

from programs import eventually

BIN = pathlib.Path("/usr/lib/postgresql/15/bin")


class Postgres:
    """Serves, until stop(), the database at `uri`, through a unix socket."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="lazynorm-pg.")
        self.user = None
        if os.geteuid() == 0:
            self.user = pwd.getpwnam("postgres")
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        data = f"{self.folder}/data"
        made = self._run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        if made.wait(timeout=180) != 0:
            raise AssertionError(f"initdb: see {self.folder}/log")
        self.process = self._run("postgres", "-D", data, "-k", self.folder, "-c", "listen_addresses=")
        self.uri = f"postgresql://postgres@/postgres?host={self.folder}"
        ready = ["/usr/bin/env", BIN / "pg_isready", "-q", "-h", self.folder]
        eventually(lambda: subprocess.run(ready, check=False).returncode == 0, "PostgreSQL answers")

    def _run(self, program, *arguments):
        who = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        with open(f"{self.folder}/log", "a", encoding="utf-8") as log:
            return subprocess.Popen([BIN / program, *arguments], stdout=log, stderr=log, cwd="/", **who)

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=180)
        shutil.rmtree(self.folder)
