"""How lazynormd starts, or says why it does not."""

import os
import platform
import socket
import unittest

from programs import ServerTest, table


class StartTest(ServerTest):
    def refused(self, *flags):
        """What is said by a server that must not start: one plain line."""
        run = self.run_server("--listen=127.0.0.1:0", "--metrics_listen=", *flags)
        self.assertNotEqual(run.returncode, 0, run.stderr)
        self.assertGreater(run.returncode, 0, "ended by a signal")
        self.assertEqual(run.stdout, "")
        self.assertEqual(len(run.stderr.strip().splitlines()), 1, run.stderr)
        return run.stderr

    def test_it_serves_on_the_free_ports_that_it_names(self):
        server = self.server(listen="127.0.0.1:0,127.0.0.1:0")
        self.assertEqual(len(server.ports), 2)
        for port in server.ports:
            server.address = f"127.0.0.1:{port}"
            self.assertEqual(server.cli("health").strip(), "SERVING")
        self.assertEqual(server.get("/healthz")[0], 200)
        self.assertEqual(server.get("/readyz")[0], 200)

    def test_a_unix_socket_serves_like_a_port(self):
        path = os.path.join(self.folder(), "lazynorm.sock")
        server = self.server(listen=f"unix:{path}")
        server.address = f"unix:{path}"
        step = server.json("train", "m", "-", "--target", "y", "--create", stdin=table(64))
        self.assertEqual(step["rows"], 64)

    def test_a_wrong_value_is_named_with_what_was_expected(self):
        self.assertIn("--max_models: expected 1 to", self.refused("--max_models=0"))
        self.assertIn("drain_seconds", self.refused("--drain_seconds=5"))
        self.assertIn("polling_threads", self.refused("--polling_threads=many"))
        self.assertIn('"nonsense"', self.refused("--listen=nonsense"))

    def test_an_unknown_flag_is_named(self):
        self.assertIn("'bogus'", self.refused("--bogus=1"))

    def test_a_word_that_is_no_flag_is_refused(self):
        self.assertIn("max_models=3", self.refused("max_models=3"))

    def test_a_port_that_is_taken_is_named(self):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            taken = f"127.0.0.1:{other.getsockname()[1]}"
            for flag in ("--listen", "--metrics_listen"):
                run = self.run_server("--listen=127.0.0.1:0", "--metrics_listen=", f"{flag}={taken}")
                self.assertEqual(run.returncode, 1)
                *log, last = run.stderr.strip().splitlines()
                self.assertIn(f"cannot listen on {taken}", last)
                for line in log:  # also what gRPC has to say is a record
                    self.assertRegex(line, r"^time=\S+ level=\w+ event=\w+ ")

    def test_the_version_is_printed_and_nothing_served(self):
        run = self.run_server("--version")
        self.assertEqual(run.returncode, 0)
        self.assertRegex(run.stdout, r"^lazynormd \d+\.\d+\.\d+\n")

    def test_help_names_every_flag(self):
        run = self.run_server("--help")
        self.assertIn("Flags from server/flags.cc:", run.stdout)
        for flag in ("listen", "metrics_listen", "models_dir", "drain_seconds", "max_models",
                     "max_queued_steps", "max_message_bytes"):
            self.assertIn(f"--{flag} ", run.stdout)

    def test_the_instructions_of_arithmetic_are_chosen_and_told(self):
        self.assertIn('got "v1"', self.refused("--cpu=v1"))
        if platform.machine() != "x86_64":
            return
        server = self.server("--cpu=v2")
        self.assertIn(" kernels=v2 ", "".join(server.log))
        self.assertTrue([name for name in server.series()
                         if name.startswith('lazynorm_build_info{kernels="v2"')])

    def test_flags_may_come_from_a_file(self):
        flags = self.file("flags", "--max_models=1\n")
        server = self.server(f"--flagfile={flags}")
        server.cli("create", "one")
        self.assertIn("LIMIT_EXCEEDED", server.cli("create", "two", code=1))


class ModelsDirTest(ServerTest):
    def test_specs_in_a_folder_are_models_from_the_start(self):
        folder = self.folder()
        with open(os.path.join(folder, "small.textproto"), "w", encoding="utf-8") as file:
            file.write("mlp { hidden: 8 } in_features: 3")
        with open(os.path.join(folder, "wide.json"), "w", encoding="utf-8") as file:
            file.write('{"mlp": {"hidden": [32], "out_features": 2}}')
        server = self.server(f"--models_dir={folder}")
        self.assertEqual(server.json("get", "small")["in_features"], 3)
        self.assertEqual(server.json("get", "wide")["out_features"], 2)

    def test_a_spec_that_cannot_be_read_keeps_the_server_from_starting(self):
        for name, text in (("bad.json", "{"), ("bad.textproto", "mlp { hidden: -1 }"),
                           ("Bad_Name.json", "{}")):
            path = self.file(name, text)
            run = self.run_server("--listen=127.0.0.1:0", "--metrics_listen=",
                                  f"--models_dir={os.path.dirname(path)}")
            self.assertEqual(run.returncode, 1, name)
            self.assertIn(name, run.stderr)

    def test_a_thousand_models_are_created_and_listed_and_one_more_is_refused(self):
        folder = self.folder()
        for i in range(1000):
            with open(os.path.join(folder, f"model-{i:03}.json"), "w", encoding="utf-8") as file:
                file.write('{"mlp": {"hidden": [8]}, "in_features": 4}')
        server = self.server(f"--models_dir={folder}")
        listed = server.cli("list", "--output", "csv").splitlines()
        self.assertEqual(len(listed), 1001)  # and a header
        self.assertTrue(all(f"model-{i:03}" in listed[i + 1] for i in range(1000)))
        self.assertEqual(server.series()["lazynorm_models"], 1000)
        self.assertIn("LIMIT_EXCEEDED", server.cli("create", "one-more", code=1))


if __name__ == "__main__":
    unittest.main()
