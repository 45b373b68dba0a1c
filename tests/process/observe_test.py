"""What lazynormd tells about itself: metrics and log."""

import re
import shutil
import subprocess
import unittest

from programs import ServerTest, eventually, table

# Of each model once it has learned, and of the server. Those of the store are told with the store.
MODEL_SERIES = """
lazynorm_train_loss lazynorm_prequential_loss lazynorm_prequential_loss_distribution_bucket
lazynorm_model_step lazynorm_rows_trained_total lazynorm_rows_predicted_total
lazynorm_train_rejected_total lazynorm_batch_norm_shift lazynorm_gradient_norm
lazynorm_parameter_norm lazynorm_expert_weight lazynorm_drift_total lazynorm_drift_level
lazynorm_loss_gap lazynorm_statistics_frozen lazynorm_train_queue_depth
lazynorm_step_seconds_bucket lazynorm_step_seconds_count lazynorm_step_seconds_sum""".split()
SERVER_SERIES = """
lazynorm_models lazynorm_build_info grpc_server_started_total grpc_server_handled_total
grpc_server_handling_seconds_bucket grpc_server_msg_received_total
grpc_server_msg_sent_total""".split()


class MetricsTest(ServerTest):
    def under_load(self):
        server = self.server()
        load = subprocess.Popen(
            server.command("train", "m", "-", "--target", "y", "--create", "--normalize-input",
                           "--hidden", "8", "--batch", "8"),
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
        self.addCleanup(load.wait)
        self.addCleanup(load.stdin.close)
        load.stdin.write(table(20000))
        load.stdin.flush()
        eventually(lambda: server.series().get('lazynorm_model_step{model="m"}', 0) > 0, "a step")
        server.cli("predict", "m", "-", "--target", "y", stdin=table(3))
        wide = "a,b,c,y\n" + "1,2,3,4\n" * 4
        server.cli("create", "other", "--in-features", "2", "--hidden", "4")
        server.cli("train", "other", "-", "--target", "y", stdin=wide, code=1)
        return server

    def test_promtool_has_nothing_to_say_about_a_scrape_under_load(self):
        self.assertIsNotNone(shutil.which("promtool"),
                             "promtool is not installed: apt-get install prometheus")
        server = self.under_load()
        for _ in range(3):
            check = subprocess.run(["promtool", "check", "metrics"], capture_output=True, text=True,
                                   input=server.get("/metrics")[1], check=False)
            self.assertEqual((check.returncode, check.stdout + check.stderr), (0, ""))

    def test_every_series_is_there(self):
        server = self.under_load()
        names = {name.split("{")[0] for name in server.series()}
        self.assertEqual([name for name in SERVER_SERIES + MODEL_SERIES if name not in names], [])
        series = server.series()
        self.assertEqual(series['lazynorm_rows_predicted_total{model="m"}'], 3)
        refused = 'lazynorm_train_rejected_total{model="other",reason="WIDTH_MISMATCH"}'
        self.assertGreaterEqual(series[refused], 1)

    def test_every_method_counts_from_zero_before_its_first_call(self):
        series = self.server().series()
        for service, method, kind in (("ModelService", "CreateModel", "unary"),
                                      ("TrainingService", "TrainStream", "bidi_stream"),
                                      ("PredictionService", "EvaluateStream", "client_stream"),
                                      ("ModelService", "WatchModel", "server_stream")):
            labels = (f'grpc_method="{method}",grpc_service="lazynorm.v1.{service}",'
                      f'grpc_type="{kind}"')
            self.assertEqual(series[f"grpc_server_started_total{{{labels}}}"], 0)
            self.assertEqual(
                sum(value for name, value in series.items()
                    if name.startswith("grpc_server_handled_total") and f'"{method}"' in name), 0)

    def test_experts_show_their_weights(self):
        server = self.server()
        server.cli("train", "m", "-", "--target", "y", "--create", "--preset", "torch",
                   "--batch", "8", stdin=table(64))
        self.assertEqual(server.series()['lazynorm_expert_weight{model="m",expert="0"}'], 1)
        server.cli("train", "three", "-", "--target", "y", "--create", "--preset", "stream",
                   stdin=table(64))
        weights = [value for name, value in server.series().items()
                   if name.startswith("lazynorm_expert_weight") and '"three"' in name]
        self.assertGreater(len(weights), 1)
        self.assertAlmostEqual(sum(weights), 1, places=6)

    def test_the_series_of_a_model_go_with_it(self):
        server = self.server()
        server.cli("train", "gone", "-", "--target", "y", "--create", stdin=table(32))
        self.assertTrue(any('model="gone"' in name for name in server.series()))
        server.cli("delete", "gone")
        self.assertFalse(any('model="gone"' in name for name in server.series()))


class LogTest(ServerTest):
    def test_drift_is_logged_counted_and_shown_to_who_watches(self):
        server = self.server()
        rows = [line.split(",") for line in table(2400).splitlines()[1:]]
        for i, row in enumerate(rows[1600:]):
            row[-1] = str(500 + 90 * ((i * 7) % 11))
        text = "a,b,y\n" + "".join(",".join(row) + "\n" for row in rows)
        server.cli("train", "m", "-", "--target", "y", "--create", "--batch", "8", stdin=text)
        count = server.series()['lazynorm_drift_total{model="m"}']
        self.assertGreaterEqual(count, 1)
        status = server.json("watch", "m", "--count", "1")
        self.assertEqual(int(status["drifts"]), count)
        self.assertGreater(int(status["last_drift_step"]), 200)
        self.assertIn(str(int(count)), server.cli("watch", "m", "--count", "1"))
        server.signal()
        self.assertEqual(server.wait(), 0)
        told = [line for line in server.log if "event=drift " in line]
        self.assertEqual(len(told), count)
        self.assertRegex(told[-1], r"level=warning event=drift model=m step="
                         + status["last_drift_step"] + r" prequential_loss=[0-9.e+-]+\n$")

    def test_every_line_is_one_record_of_keys_and_values(self):
        server = self.server()
        server.cli("train", "m", "-", "--target", "y", "--create", stdin=table(32))
        server.cli("get", "nobody", code=4)
        server.cli("delete", "m")
        server.signal()
        self.assertEqual(server.wait(), 0)
        events = []
        for line in server.log:
            self.assertRegex(line, r'^time=\S+ level=\w+ event=\w+( \w+=("[^"]*"|[^\s"=]*))*\n$')
            events.append(re.search(r"event=(\w+)", line).group(1))
        self.assertEqual(
            events, ["recovered", "serving", "model_created", "audit", "model_deleted", "audit", "draining",
                     "stopped"])


if __name__ == "__main__":
    unittest.main()
