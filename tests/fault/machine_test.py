"""A real lazynormd on a disk that fails and under a clock that jumps: bad_machine.cc, preloaded."""

import os
import resource
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "process"))
from programs import SOON, ServerTest, eventually, table  # noqa: E402

BAD_MACHINE = os.environ["LAZYNORM_BAD_MACHINE"]
EX_IOERR = 74


class MachineTest(ServerTest):
    def setUp(self):
        self.data = os.path.join(self.folder(), "data")
        self.fault_file = self.data + ".fault"
        self.clock_file = self.data + ".clock"
        self.set_clock(0)

    def start(self, *flags):
        return self.server(*flags, data_dir=self.data, env={
            "LD_PRELOAD": BAD_MACHINE, "LAZYNORM_BAD_DISK": self.data,
            "LAZYNORM_BAD_CLOCK": self.clock_file})

    def set_fault(self, word):
        with open(self.fault_file, "w", encoding="utf-8") as file:
            file.write(word)

    def mend(self):
        os.unlink(self.fault_file)

    def set_clock(self, seconds_off):
        """Changes the running server's clock too: it has mapped the file."""
        mode = "r+b" if os.path.exists(self.clock_file) else "wb"
        with open(self.clock_file, mode) as file:
            file.write(struct.pack("q", seconds_off))

    def train(self, server, code=0):
        server.timeout = "60s" if code == 0 else "6s"  # for so long it is tried again in vain
        return server.cli("train", "m", "-", "--target", "y", "--create", "--batch", "8",
                          stdin=table(64), code=code)

    def seen(self, server):
        """All that can be seen of the model's numbers."""
        return server.json("state", "m"), server.json("get", "m")["step"]

    def check_full(self, server, fill, make_room):
        self.train(server)
        before = self.seen(server)
        fill()
        said = self.train(server, code=1)
        self.assertIn("STORE_FULL", said)
        self.assertEqual(self.seen(server), before, "what was refused has left a trace")
        server.cli("predict", "m", "-", "--target", "y", stdin=table(8))
        self.assertEqual(server.get("/readyz")[0], 200)
        self.assertGreater(
            server.series()['lazynorm_train_rejected_total{model="m",reason="STORE_FULL"}'], 0)
        make_room()
        eventually(lambda: self.train_works(server), "learning resumes")
        after = self.seen(server)
        self.assertGreater(int(after[1]), int(before[1]))
        server.signal(9)
        server.wait()
        self.assertEqual(self.seen(self.start()), after)

    def train_works(self, server):
        server.timeout = "60s"
        run = subprocess.run(server.command("train", "m", "-", "--target", "y", "--batch", "8"),
                             input=table(8), capture_output=True, text=True, timeout=SOON,
                             check=False)
        return run.returncode == 0

    def test_a_full_disk_stops_learning_alone_and_only_while_it_is_full(self):
        for word in ("ENOSPC", "EDQUOT"):
            with self.subTest(word):
                self.setUp()
                server = self.start()
                self.check_full(server, lambda w=word: self.set_fault(w), self.mend)

    def test_a_limit_on_file_sizes_is_a_full_disk(self):
        server = self.start()

        def limit(size):
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE,
                             (size, resource.RLIM_INFINITY))

        self.check_full(server, lambda: limit(512), lambda: limit(resource.RLIM_INFINITY))

    def test_a_disk_that_fails_ends_the_process_and_the_next_one_has_it_all(self):
        for word in ("EIO", "FSYNC", "EROFS"):
            with self.subTest(word):
                self.setUp()
                server = self.start()
                self.train(server)
                before = self.seen(server)
                self.set_fault(word)
                said = self.train(server, code=3)
                self.assertEqual(server.wait(), EX_IOERR)
                told = [line for line in server.log if "event=store_failed" in line]
                self.assertIn("start again to recover", told[-1])
                self.assertRegex(said, "STORE_FAILED|no server at")
                self.mend()
                # What was in flight may have been kept, or not; nothing else.
                again = self.start()
                step = int(again.json("get", "m")["step"])
                self.assertIn(step - int(before[1]), range(0, 9))
                if step == int(before[1]):
                    self.assertEqual(self.seen(again), before)
                self.train(again)

    def test_short_writes_and_interruptions_are_not_noticed(self):
        for word in ("SHORT", "EINTR"):
            with self.subTest(word):
                self.setUp()
                server = self.start("--replay_budget=1ms")
                self.set_fault(word)
                self.train(server)
                before = self.seen(server)
                server.signal(9)
                server.wait()
                self.assertEqual(self.seen(self.start()), before)

    def test_a_clock_that_jumps_changes_no_step_and_no_order(self):
        hours = 3600
        server = self.start()
        still = self.server()
        for offset in (0, 30 * hours, -50 * hours, 7 * hours, -1000 * hours):
            self.set_clock(offset)
            self.train(server)
            self.train(still)
            if offset == 7 * hours:
                server.signal(9)
                server.wait()
                server = self.start()
        self.assertEqual(self.seen(server), self.seen(still))
        server.cli("checkpoint", "m")
        step = int(server.json("get", "m")["step"])
        server.cli("restore", "m", "--step", str(step - 11))
        self.assertEqual(int(server.json("get", "m")["step"]), step - 11)


if __name__ == "__main__":
    unittest.main()
