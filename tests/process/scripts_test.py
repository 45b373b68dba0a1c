"""The scripts of the first screen, against programs that are built already."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = os.environ["LAZYNORM_BIN"]


class ScriptsTest(unittest.TestCase):
    def test_the_scripts_are_written_in_valid_bash(self):
        for name in ("demo.sh", "test.sh", ".ci/run"):
            check = subprocess.run(["bash", "-n", name], cwd=ROOT, capture_output=True, text=True,
                                   check=False)
            self.assertEqual((check.returncode, check.stderr), (0, ""), name)
            self.assertTrue(os.access(ROOT / name, os.X_OK), f"{name} cannot be run")

    def test_the_demo_runs_to_its_end_and_prints_the_table(self):
        # As it stands, but for the build, which has been made: its cmake does nothing.
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            shutil.copy(ROOT / "demo.sh", root)
            shutil.copytree(ROOT / "deploy", root / "deploy")
            (root / "build").mkdir()
            (root / "build" / "bin").symlink_to(BIN)
            (root / "stand-in").mkdir()
            (root / "stand-in" / "cmake").write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
            (root / "stand-in" / "cmake").chmod(0o755)
            path = f"{root / 'stand-in'}:{os.environ['PATH']}"
            demo = subprocess.run([root / "demo.sh"], capture_output=True, text=True, timeout=600,
                                  env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL,
                                  check=False)
        self.assertEqual(demo.returncode, 0, demo.stdout + demo.stderr)
        self.assertRegex(demo.stdout, r"rows\s+date\s+model\s+persistence")
        self.assertRegex(demo.stdout, r"2015-\d\d-\d\d\s+[\d.]+\s+[\d.]+")
        stream, persistence, torch = (
            float(re.search(rf"^  {text} +([\d.]+)$", demo.stdout, re.MULTILINE)[1])
            for text in (r"lazynorm, as it comes \(--preset stream\)", "tomorrow will be as today",
                         "PyTorch's batch norm, the same network"))
        self.assertLess(stream, persistence)
        self.assertLess(persistence, torch)
        self.assertIn('lazynorm_model_step{model="weather"}', demo.stdout)


if __name__ == "__main__":
    unittest.main()
