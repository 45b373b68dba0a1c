"""The installed package's types, by mypy: its own, and what they tell of a caller's mistakes."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
CALLER = """
from lazynorm import Client
with Client("localhost:1") as client:
    step = client.train("m", [[1.0]], [1.0])
    reveal_type(step.loss)
    client.predict("m")
    client.train("m", [[1.0]], [1.0], request_id=1)
"""


class TypesTest(unittest.TestCase):
    def mypy(self, *arguments):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        run = subprocess.run(
            ["mypy", "--config-file", str(ROOT / "client/python/pyproject.toml"), "--python-executable",
             sys.executable, "--cache-dir", folder.name, *arguments],
            capture_output=True, text=True, check=False, cwd=folder.name, env={**os.environ})
        return run.stdout + run.stderr

    def test_the_package_is_strictly_typed(self):
        self.assertIn("Success: no issues", self.mypy("-p", "lazynorm"))

    def test_callers_see_its_types(self):
        said = self.mypy("-c", CALLER)
        self.assertIn('Revealed type is "builtins.float"', said)
        self.assertIn('Missing positional argument "features"', said)
        self.assertIn('incompatible type "int"; expected "Optional[str]"', said)


if __name__ == "__main__":
    unittest.main()
