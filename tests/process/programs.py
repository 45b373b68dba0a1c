"""The real programs, run the way a user runs them: a server of its own for each test, on free ports."""

import json
import os
import queue
import re
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

BIN = os.environ["LAZYNORM_BIN"]
LAZYNORMD = os.path.join(BIN, "lazynormd")
LAZYNORM = os.path.join(BIN, "lazynorm")
# For what happens at once, on a machine that may do much else, or nothing at all, for seconds.
SOON = 90


def eventually(condition, what, seconds=SOON):
    """Waits until `condition()` is true and returns its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


class Server:
    """A lazynormd that serves, until stop(). It keeps nothing unless it is given a data_dir."""

    def __init__(self, *flags, listen="127.0.0.1:0", drain="0s", data_dir=None, env=None):
        store = f"--data_dir={data_dir}" if data_dir else "--store=memory:"
        command = [LAZYNORMD, f"--listen={listen}", "--metrics_listen=127.0.0.1:0",
                   f"--drain_seconds={drain}", store, *flags]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True,
                                        env=os.environ | (env or {}))
        self.timeout = "60s"  # of a command: for so long it tries again
        self.log = []
        self._serving = queue.Queue()
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        line = self._first_serving()
        self.ports = re.search(r" ports=(\S+)", line).group(1).split(",")
        self.address = f"127.0.0.1:{self.ports[0]}"
        self.metrics_port = re.search(r" metrics_port=(\d+)", line).group(1)

    def _first_serving(self):
        """The line that tells of the ports. Nothing is left running if there is none."""
        try:
            line = self._serving.get(timeout=SOON)
        except queue.Empty:
            line = None
        if line is None:
            self.stop()
            raise AssertionError("lazynormd ended, or did not begin: " + "".join(self.log))
        return line

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line)
            if "event=serving" in line:
                self._serving.put(line)
        self._serving.put(None)

    def get(self, path):
        """The status and the body of an HTTP GET on the metrics port."""
        try:
            url = f"http://127.0.0.1:{self.metrics_port}{path}"
            with urllib.request.urlopen(url, timeout=SOON) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def series(self):
        """All series of /metrics: {'name{labels}': value}."""
        lines = self.get("/metrics")[1].splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, seconds=SOON):
        """The exit code."""
        code = self.process.wait(timeout=seconds)
        self._reader.join()
        self.process.stderr.close()
        return code

    def stop(self):
        if self.process.returncode is None:
            self.process.kill()
            self.wait()

    def command(self, *arguments):
        return [LAZYNORM, "--server", self.address, "--timeout", self.timeout, *arguments]

    def cli(self, *arguments, stdin=None, code=0):
        """What the command wrote to stdout; asserts its exit code."""
        run = subprocess.run(self.command(*arguments), input=stdin, capture_output=True, text=True,
                             timeout=180, check=False)
        assert run.returncode == code, f"{arguments}: exit {run.returncode}\n{run.stdout}{run.stderr}"
        return run.stdout if code == 0 else run.stderr

    def logs(self, text):
        """Waits until the log has that: it is read by a thread of its own, and may come after an answer."""
        eventually(lambda: text in "".join(self.log), f"in the log: {text}")

    def json(self, *arguments, stdin=None):
        return json.loads(self.cli(*arguments, "--output", "json", stdin=stdin))


class ServerTest(unittest.TestCase):
    """Gives each test servers and a folder that go with it."""

    def server(self, *flags, **options):
        server = Server(*flags, **options)
        self.addCleanup(server.stop)
        return server

    def folder(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return folder.name

    def file(self, name, text):
        path = os.path.join(self.folder(), name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def run_server(self, *flags):
        """Runs a lazynormd that is expected to end by itself. It must not be left running."""
        keeps = any(flag.startswith("--data_dir=") for flag in flags)
        command = [LAZYNORMD, *([] if keeps else ["--store=memory:"]), *flags]
        return subprocess.run(command, capture_output=True, text=True, timeout=SOON, check=False)


def table(rows):
    """A CSV of a and b with y = a + 2 b."""
    lines = ["a,b,y"]
    for i in range(rows):
        a, b = i * 7 % 11 - 5, i * 5 % 13 - 6
        lines.append(f"{a},{b},{a + 2 * b}")
    return "\n".join(lines) + "\n"
