"""A client in another language against the real server: the scenario of client/README.md, also over TLS and
through a connection that breaks, and the example of its README. LAZYNORM_CLIENT names the language.

All languages have to print the figures that Python prints, which is why Python comes first.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "process"))

from programs import BIN, ServerTest  # pylint: disable=wrong-import-position

from proxy import Proxy, make_certificate  # pylint: disable=wrong-import-position

LANGUAGE = os.environ["LAZYNORM_CLIENT"]
SOURCE = HERE.parent.parent / "client" / LANGUAGE
BUILT = pathlib.Path(BIN).parent / "clients" / LANGUAGE
FIGURES = BUILT.parent / "figures.txt"

# How the acceptance program is run, and a file with an example: where it must lie, and its command.
PROGRAMS = {
    "go": [f"{BUILT}/bin/acceptance"],
    "java": ["java", f"@{BUILT}/classpath", "acceptance.Acceptance"],
    "node": ["node", f"{BUILT}/dist/acceptance.js"],
    "python": [f"{BUILT}/bin/python", f"{SOURCE}/acceptance.py"],
    "ruby": ["ruby", f"-I{BUILT}/lib", f"{SOURCE}/acceptance.rb"],
}
EXAMPLES = {
    "go": ("src/example/main.go", ["sh", "-c", f". '{BUILT}/env' && exec go run example"]),
    "java": ("Example.java", ["java", f"@{BUILT}/classpath", f"{BUILT}/Example.java"]),
    "node": ("example.mjs", ["node", f"{BUILT}/example.mjs"]),
    "python": ("example.py", [f"{BUILT}/bin/python", f"{BUILT}/example.py"]),
    "ruby": ("example.rb", ["ruby", f"-I{BUILT}/lib", f"{BUILT}/example.rb"]),
}


def run(command, **environment):
    """What the command prints; asserts that it succeeds."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False,
                          env={**os.environ, **environment})
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def setUpModule():
    run([f"{SOURCE}/build.sh", str(BUILT)])


class AcceptanceTest(ServerTest):
    def accept(self, address, **environment):
        """Runs the scenario; asserts its figures."""
        printed = run([*PROGRAMS[LANGUAGE], address], **environment)
        self.assertEqual(printed.splitlines()[-1], "ok")
        if LANGUAGE == "python" and not FIGURES.exists():
            FIGURES.write_text(printed, encoding="utf-8")
        self.assertEqual(printed, FIGURES.read_text(encoding="utf-8"))

    @classmethod
    def setUpClass(cls):
        if LANGUAGE == "python":
            FIGURES.unlink(missing_ok=True)

    def test_the_scenario_gives_everybodys_figures_and_leaves_no_model(self):
        server = self.server()
        self.accept(server.address)
        self.assertEqual(server.cli("list", "--output", "json").strip(), "")

    def test_an_answer_that_is_lost_is_asked_for_again_and_not_trained_twice(self):
        proxy = Proxy(self.server().address, cut_after=5000)
        self.addCleanup(proxy.stop)
        self.accept(proxy.address)
        self.assertEqual(proxy.cuts, 1)

    def test_tls_with_an_authority_of_ones_own(self):
        certificate = make_certificate(self.folder())
        proxy = Proxy(self.server().address, certificate)
        self.addCleanup(proxy.stop)
        self.accept(proxy.address, LAZYNORM_TLS_CA=certificate[0], LAZYNORM_TOKEN="a-token")

    def test_a_server_of_another_authority_is_not_spoken_to(self):
        proxy = Proxy(self.server().address, make_certificate(self.folder()))
        self.addCleanup(proxy.stop)
        other = make_certificate(self.folder())[0]
        with self.assertRaisesRegex(AssertionError, "exit 1"):
            run([*PROGRAMS[LANGUAGE], proxy.address], LAZYNORM_TLS_CA=other, LAZYNORM_TOKEN="a-token")
        self.assertEqual(proxy.connections, 0)  # none got through its handshake

    def test_the_example_of_the_readme_runs_as_it_is(self):
        readme = (SOURCE / "README.md").read_text(encoding="utf-8")
        example = re.search(r"```(?:go|java|js|python|ruby)\n(.*?)```", readme, re.DOTALL).group(1)
        self.assertIn("localhost:50051", example)
        path, command = EXAMPLES[LANGUAGE]
        (BUILT / path).parent.mkdir(exist_ok=True)
        (BUILT / path).write_text(example.replace("localhost:50051", self.server().address), encoding="utf-8")
        self.assertRegex(run(command), r"(?s)\S.*\d")


if __name__ == "__main__":
    unittest.main()
