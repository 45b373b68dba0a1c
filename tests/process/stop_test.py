"""How lazynormd ends while it is at work."""

import signal
import subprocess
import threading
import time
import unittest

from programs import SOON, ServerTest, eventually, table

# While it lasts, a test does a few things that take no time, unless the machine stands still for seconds.
DRAIN = 12


class StopTest(ServerTest):
    def predict_all_the_time(self, server, stopped, codes):
        while not stopped.is_set():
            run = subprocess.run(server.command("predict", "m", "-", "--target", "y"),
                                 input=table(8), capture_output=True, text=True, check=False)
            codes.append((time.monotonic(), run.returncode, run.stderr))

    def test_sigterm_under_load_is_seen_at_once_and_served_until_the_drain_is_over(self):
        server = self.server(drain=f"{DRAIN}s")
        server.timeout = "10s"  # what is asked at last is tried again for so long, in vain
        server.cli("train", "m", "-", "--target", "y", "--create", stdin=table(64))
        stopped, codes = threading.Event(), []
        load = [threading.Thread(target=self.predict_all_the_time, args=(server, stopped, codes))
                for _ in range(2)]
        for thread in load:
            thread.start()
        eventually(lambda: len(codes) > 4, "the load runs")

        begin = time.monotonic()
        server.signal()
        eventually(lambda: server.get("/readyz")[0] == 503, "not ready any more", seconds=DRAIN)
        self.assertEqual(server.get("/healthz")[0], 200)
        self.assertIn("NOT_SERVING", server.cli("health", code=3))
        self.assertEqual(server.json("get", "m")["step"], "2")

        self.assertEqual(server.wait(), 0)
        end = time.monotonic()
        stopped.set()
        for thread in load:
            thread.join()
        self.assertGreaterEqual(end - begin, DRAIN - 0.1)
        for at, code, said in codes:
            if at < begin + DRAIN - 0.5:
                self.assertEqual(code, 0, f"{at - begin} s after SIGTERM: {said}")
            else:
                self.assertIn(code, (0, 3), said)
        self.assertTrue(any(begin < at < begin + DRAIN for at, _, _ in codes), "nothing was served")
        self.assertIn("event=draining", server.log[-2])
        self.assertIn("event=stopped", server.log[-1])

    def test_a_stream_that_is_open_at_sigterm_is_answered_to_its_last_row(self):
        server = self.server(drain=f"{DRAIN}s")
        train = subprocess.Popen(
            server.command("train", "m", "-", "--target", "y", "--create", "--batch", "8",
                           "--output", "json"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        header, *rows = table(96).splitlines(keepends=True)
        train.stdin.write(header + "".join(rows[:48]))
        train.stdin.flush()
        eventually(lambda: server.series().get('lazynorm_model_step{model="m"}', 0) > 0,
                   "the first steps")
        server.signal()
        eventually(lambda: server.get("/readyz")[0] == 503, "draining")
        train.stdin.write("".join(rows[48:]))
        out, said = train.communicate(timeout=SOON)
        self.assertEqual(train.returncode, 0, said)
        self.assertIn('"steps": 12, "step": 12', out)
        self.assertEqual(server.series()['lazynorm_model_step{model="m"}'], 12)
        self.assertEqual(server.wait(), 0)

    def test_a_server_that_is_stopped_and_goes_on_drains_to_the_end(self):
        server = self.server(drain="1h")
        server.signal()
        eventually(lambda: server.get("/readyz")[0] == 503, "draining")
        for number in (signal.SIGSTOP, signal.SIGCONT) * 3:
            server.signal(number)
        with self.assertRaises(subprocess.TimeoutExpired):
            server.wait(1)
        self.assertEqual(server.get("/healthz")[0], 200)

    def test_an_idle_server_ends_as_soon_as_it_is_asked_without_a_drain(self):
        server = self.server(drain="0s")
        begin = time.monotonic()
        server.signal()
        self.assertEqual(server.wait(), 0)
        self.assertLess(time.monotonic() - begin, 25)  # calls that are under way would be given 30 s

    def test_a_second_sigterm_ends_it_at_once_and_not_with_success(self):
        server = self.server(drain="1h")
        server.signal()
        eventually(lambda: server.get("/readyz")[0] == 503, "draining")
        server.signal()
        self.assertNotEqual(server.wait(SOON), 0)  # and not in an hour


if __name__ == "__main__":
    unittest.main()
