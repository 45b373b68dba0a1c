"""What an operator does about data: kill, start again, checkpoints, backups, two servers by mistake."""

import os
import subprocess
import unittest

from programs import LAZYNORM, SOON, ServerTest, table


class DurabilityTest(ServerTest):
    def setUp(self):
        self.data = os.path.join(self.folder(), "data")

    def start(self, *flags, data=None):
        return self.server(*flags, data_dir=data or self.data)

    def train(self, server, rows=64):
        server.cli("train", "m", "-", "--target", "y", "--create", "--batch", "4",
                   stdin=table(rows))

    def seen(self, server):
        return server.json("state", "m"), server.json("get", "m")["step"]

    def kill(self, server):
        server.signal(9)
        server.wait()

    def test_a_killed_server_comes_back_with_every_step(self):
        server = self.start()
        self.train(server)
        before = self.seen(server)
        self.kill(server)
        again = self.start()
        self.assertEqual(self.seen(again), before)
        self.assertTrue(any("event=recovered models=1" in line for line in again.log))

    def test_checkpoints_and_past_steps_come_back_and_going_back_can_be_undone(self):
        server = self.start()
        self.train(server)
        early = self.seen(server)
        checkpoint = server.json("checkpoint", "m", "--label", "early")["checkpoint"]
        self.train(server)
        late = self.seen(server)
        server.cli("restore", "m", str(checkpoint))
        self.assertEqual(self.seen(server), early)
        self.kill(server)
        server = self.start()
        self.assertEqual(self.seen(server), early)
        server.cli("restore", "m", "--step", str(late[1]))
        self.assertEqual(self.seen(server), late)
        self.assertIn("STEP_NOT_KEPT", server.cli("restore", "m", "--step", "100000", code=1))
        self.assertIn("early", server.cli("checkpoint", "m", "--list"))
        server.cli("checkpoint", "m", "--delete", str(checkpoint))
        self.assertIn("CHECKPOINT_NOT_FOUND", server.cli("restore", "m", str(checkpoint), code=4))

    def test_a_backup_is_a_store_to_begin_with(self):
        server = self.start()
        self.train(server)
        backup = os.path.join(self.folder(), "backup")
        server.cli("backup", backup)
        kept = self.seen(server)
        self.train(server)
        other = os.path.join(self.folder(), "other")
        restored = self.start(f"--restore_from={backup}", data=other)
        self.assertEqual(self.seen(restored), kept)
        self.train(restored)
        self.assertIn("exists already", server.cli("backup", backup, code=2))
        self.kill(restored)
        refused = self.run_server("--listen=127.0.0.1:0", f"--data_dir={other}",
                                  f"--restore_from={backup}")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("empty data directory", refused.stderr)

    def test_models_move_to_another_store_with_all_they_had(self):
        server = self.start()
        self.train(server)
        early = self.seen(server)
        server.cli("checkpoint", "m", "--label", "early")
        self.train(server)
        late = self.seen(server)
        uris = ["--from", f"sqlite://{self.data}/lazynorm.db",
                "--to", f"sqlite://{self.folder()}/moved/lazynorm.db"]
        used = subprocess.run([LAZYNORM, "migrate", *uris], capture_output=True, text=True, timeout=SOON)
        self.assertEqual(used.returncode, 1)
        self.assertIn(str(server.process.pid), used.stderr)
        self.kill(server)
        moved = subprocess.run([LAZYNORM, "migrate", *uris], capture_output=True, text=True, timeout=SOON)
        self.assertEqual((moved.returncode, moved.stderr), (0, ""))
        self.assertRegex(moved.stdout, r'^model "m": step 32, \d+ records, \d+ snapshots, 1 checkpoints\n$')
        server = self.start(f"--store={uris[3]}")
        self.assertEqual(self.seen(server), late)
        self.assertIn("early", server.cli("checkpoint", "m", "--list"))
        server.cli("restore", "m", "--step", str(early[1]))
        self.assertEqual(self.seen(server), early)

    def test_a_second_server_on_the_same_data_is_told_who_has_it(self):
        server = self.start()
        refused = self.run_server("--listen=127.0.0.1:0", "--metrics_listen=",
                                  f"--data_dir={self.data}")
        self.assertEqual(refused.returncode, 1)
        self.assertIn(str(server.process.pid), refused.stderr)
        self.train(server)

    def test_a_model_that_learned_under_each_durability_is_there_after_a_kill(self):
        for durability in ("fsync", "async", "none"):
            with self.subTest(durability):
                self.setUp()
                server = self.start(f"--durability={durability}")
                self.train(server)
                before = self.seen(server)
                self.kill(server)
                self.assertEqual(self.seen(self.start(f"--durability={durability}")), before)


if __name__ == "__main__":
    unittest.main()
