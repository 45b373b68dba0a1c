"""What is installed: by cmake --install and as a Debian package, with its manual pages and its service."""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

from facts import BUILD, DEPLOY, commands, server_flags, version

UNIT = DEPLOY / "systemd" / "lazynormd.service"


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600,
                          check=False, **options)


class InstallTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def must(self, *command, **options):
        done = run(*command, **options)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def check_tree(self, prefix):
        for program in ("lazynormd", "lazynorm"):
            self.assertEqual(self.must(prefix / "bin" / program, "--version"), f"{program} {version()}\n")
        for page in ("man8/lazynormd.8", "man1/lazynorm.1"):
            self.assertTrue((prefix / "share" / "man" / page).exists(), page)
        protos = self.must("find", prefix / "share" / "lazynorm" / "proto", "-name", "*.proto")
        self.assertIn("lazynorm/v1/training_service.proto", protos)
        self.assertNotIn("store", protos)
        # What a client compiles compiles where it is installed.
        self.must("protoc", f"--proto_path={prefix}/share/lazynorm/proto", f"--python_out={self.folder}",
                  *protos.split())

    def test_cmake_install_makes_a_tree_that_works(self):
        self.must("cmake", "--install", BUILD, "--prefix", self.folder / "tree", "--strip")
        self.check_tree(self.folder / "tree")

    def test_the_debian_package_holds_it_and_knows_what_it_needs(self):
        self.must("cpack", "--config", BUILD / "CPackConfig.cmake", "-B", self.folder, cwd=BUILD)
        [package] = self.folder.glob("*.deb")
        self.assertRegex(package.name, rf"^lazynorm_{re.escape(version())}_\w+\.deb$")
        depends = self.must("dpkg-deb", "--field", package, "Depends")
        linked = (BUILD / "deploy" / "linked-packages.tsv").read_text()
        for library in ("libgrpc++1.51", "libprotobuf32", "libsqlite3-0", "libpq5", "libc6"):
            self.assertRegex(depends, rf"(^|, ){re.escape(library)} ")
            self.assertRegex(linked, rf"(?m)^{re.escape(library)}\t[\d:]+\S*\t\S+\t\S+")
        self.assertNotIn("libgtest", depends + linked)
        self.must("dpkg-deb", "--extract", package, self.folder / "root")
        self.check_tree(self.folder / "root" / "usr")
        self.assertTrue((self.folder / "root/usr/lib/systemd/system/lazynormd.service").exists())
        # Everything that the program loads is listed.
        loads = self.must("ldd", self.folder / "root/usr/bin/lazynormd")
        loaded = set(re.findall(r"^\s*(\S+) => /", loads, re.MULTILINE))
        self.assertEqual(loaded - set(linked.split()), set())

    def test_the_manual_pages_are_well_formed_and_tell_every_flag(self):
        pages = {name: (BUILD / "deploy" / name).read_text() for name in ("lazynormd.8", "lazynorm.1")}
        for name, text in pages.items():
            shown = run("groff", "-man", "-ww", "-Tutf8", "-P-c", BUILD / "deploy" / name)
            self.assertEqual((shown.returncode, shown.stderr), (0, ""), name)
            self.assertIn(f"lazynorm {version()}", text)
        for flag in server_flags():
            self.assertIn(f"\n.B \\-\\-{flag}\n", pages["lazynormd.8"])
        for command, options in commands().items():
            self.assertIn(f"\n.SH {command.upper()}\n" if command else ".SH NAME", pages["lazynorm.1"])
            for option in options:
                self.assertIn(option.replace("-", "\\-"), pages["lazynorm.1"])


class ServiceTest(unittest.TestCase):
    def verify(self, text):
        """What systemd-analyze says of a unit whose program is ours."""
        with tempfile.TemporaryDirectory() as folder:
            unit = pathlib.Path(folder) / "lazynormd.service"
            unit.write_text(text.replace("/usr/bin/lazynormd", os.path.join(os.environ["LAZYNORM_BIN"], "lazynormd")))
            checked = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)
            security = run("systemd-analyze", "security", "--offline=true", "--threshold=15", unit)
        return checked.stdout + checked.stderr, security.returncode, security.stdout

    def test_systemd_accepts_it_and_finds_little_left_to_take_away(self):
        said, code, report = self.verify(UNIT.read_text())
        self.assertEqual(said, "")
        self.assertEqual(code, 0, report)

    def test_a_wrong_word_and_a_missing_lock_are_noticed(self):
        text = UNIT.read_text()
        self.assertNotEqual(self.verify(text.replace("ProtectHome=", "ProtectHouse="))[0], "")
        self.assertNotEqual(self.verify(re.sub(r"(?m)^(Protect|Restrict|Private|System)\w+=.*\n", "", text))[1], 0)

    def test_its_flags_and_times_are_the_programs(self):
        text = UNIT.read_text()
        [line] = re.findall(r"^ExecStart=/usr/bin/lazynormd (.*)$", text, re.MULTILINE)
        self.assertEqual(set(re.findall(r"--(\w+)=", line)) - set(server_flags()), set())
        [state] = re.findall(r"^StateDirectory=(\w+)$", text, re.MULTILINE)
        self.assertIn(f"--data_dir=/var/lib/{state}", line)
        drain = int(re.fullmatch(r"(\d+)s", server_flags()["drain_seconds"])[1])
        [stop] = re.findall(r"^TimeoutStopSec=(\d+)s$", text, re.MULTILINE)
        self.assertGreater(int(stop), drain + 30)  # what it gives itself for what is queued


if __name__ == "__main__":
    unittest.main()
