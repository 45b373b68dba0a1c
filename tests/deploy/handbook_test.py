"""What the handbook and the other files name, against the programs: flags, commands, defaults, versions."""

import re
import unittest

from facts import DEPLOY, ROOT, commands, headings, server_flags, version

HANDBOOK = DEPLOY / "README.md"
VERSIONED = {  # files that name the version, and how
    "Dockerfile": r"ARG VERSION=(\S+)",
    "deploy/README.md": r"lazynorm[:_](\d+\.\d+\.\d+)",
    "deploy/compose.yaml": r"image: lazynorm:(\S+)",
    "deploy/compose.replicated.yaml": r"image: lazynorm:(\S+)",
    "deploy/kubernetes/base/stateful-set.yaml": r"image: lazynorm:(\S+)",
    "deploy/kubernetes/overlays/single/kustomization.yaml": r"newTag: ([\d.]+)",
    "deploy/kubernetes/overlays/replicated/kustomization.yaml": r"newTag: ([\d.]+)",
}


def code_of(markdown):
    """Everything written as code, a line each."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", markdown, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", prose)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()] + spans


def faults_of(markdown):
    """Flags, commands and options in it that the programs do not have."""
    flags, known = server_flags(), commands()
    options = set().union(*known.values()) | {f"--{flag}" for flag in flags} | {"--flagfile", "--target"}
    for line in code_of(markdown):
        line = line.split("  #")[0]
        server = re.match(r"(?:\S*/)?lazynormd (--.*)", line)
        for flag in re.findall(r"--(\w*_\w+)", line) + re.findall(r"--(\w+)", server[1] if server else ""):
            if flag not in flags and flag != "help":
                yield f"no flag --{flag}"
        if found := re.search(r"^(?:.*[ /])?lazynorm ([a-z]+)((?: .*)?)$", line):
            command, rest = found.groups()
            for option in re.findall(r"--[\w-]+", rest):
                if option not in known.get(command, {option}):
                    yield f"{command} has no option {option}"
            if command not in known:
                yield f"no command {command}"
        if re.fullmatch(r"--[a-z-]+", line) and line not in options:
            yield f"nothing has an option {line}"


def limits_of(markdown):
    """{flag: default} of the table of limits."""
    rows = markdown.split("## Limits")[1]
    return dict(re.findall(r"^\| [^|]+ \| `--(\w+)` \| (\S+) \|", rows, re.MULTILINE))


class HandbookTest(unittest.TestCase):
    def setUp(self):
        self.text = HANDBOOK.read_text()

    def test_it_names_what_the_programs_have(self):
        self.assertEqual(list(faults_of(self.text)), [])
        self.assertGreater(len(code_of(self.text)), 100)

    def test_what_they_do_not_have_is_noticed(self):
        for planted in ("`--max_model`", "```sh\nlazynormd --datadir=/x\n```\n", "`lazynorm snapshot`",
                        "```sh\nlazynorm train m f --learning-rate 1\n```\n", "`--shadow-baselines`"):
            self.assertNotEqual(list(faults_of(self.text + planted)), [], planted)

    def test_every_flag_is_in_it(self):
        mentioned = set(re.findall(r"--(\w+)", self.text))
        self.assertEqual(set(server_flags()) - mentioned, set())

    def test_the_limits_are_the_programs(self):
        limits, flags = limits_of(self.text), server_flags()
        self.assertEqual(limits, {name: flags[name] for name in limits})
        self.assertEqual({name for name in flags if name.startswith("max_")} - set(limits), set())

    def test_its_links_lead_somewhere(self):
        for target in re.findall(r"\]\(([^)]+)\)", self.text):
            path, _, anchor = target.partition("#")
            self.assertTrue((HANDBOOK.parent / path).exists(), target)
            if not path:
                self.assertIn(anchor, headings(HANDBOOK))

    def test_the_version_is_the_same_everywhere(self):
        for name, pattern in VERSIONED.items():
            found = set(re.findall(pattern, (ROOT / name).read_text()))
            self.assertEqual(found, {version()}, name)


if __name__ == "__main__":
    unittest.main()
