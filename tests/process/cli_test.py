"""The command line against a real server, the way a script uses it."""

import json
import socket
import subprocess
import unittest

from programs import LAZYNORM, SOON, ServerTest, table


class CliTest(ServerTest):
    def setUp(self):
        self.s = self.server()

    def trained(self, model="m", rows=640):
        return self.s.json("train", model, "-", "--target", "y", "--create", "--hidden", "8",
                           "--normalize-input", "--lr", "0.01", stdin=table(rows))

    def test_a_model_lives_from_create_to_delete(self):
        created = self.s.json("create", "m", "--hidden", "4,2", "--seed", "7")
        self.assertEqual((created["model_id"], created["state"]), ("m", "STATE_LAZY"))
        self.assertEqual(created["spec"]["seed"], "7")
        self.s.cli("train", "m", "-", "--target", "y", "--batch", "16", stdin=table(64))
        got = self.s.json("get", "m")
        self.assertEqual((got["state"], got["in_features"], got["step"], got["rows_trained"]),
                         ("STATE_READY", 2, "4", "64"))
        self.assertIn("m", self.s.cli("list"))
        self.s.cli("delete", "m")
        self.assertNotIn("m", self.s.cli("list", "--output", "csv").splitlines()[1:])
        self.s.cli("get", "m", code=4)

    def test_a_challenger_is_copied_learns_along_and_is_compared(self):
        self.trained()
        self.s.cli("copy", "m", "challenger")
        self.s.cli("update", "challenger", "--shadow-of", "m", "--lr", "0.02")
        self.s.cli("train", "m", "-", "--target", "y", "--batch", "16", stdin=table(64))
        lines = self.s.cli("compare", "m", "challenger", "--output", "csv").splitlines()
        model, challenger = (dict(zip(lines[0].split(","), line.split(","))) for line in lines[1:])
        self.assertEqual((model["model"], challenger["model"]), ("m", "challenger"))
        self.assertEqual(model["step"], challenger["step"])
        self.assertEqual(float(model["ratio"]), 1)
        self.assertNotEqual(float(challenger["ratio"]), 1)
        self.s.cli("compare", "m", "nobody", code=4)

    def test_training_with_create_learns_what_predict_and_evaluate_then_show(self):
        report = self.s.json("train", "m", self.file("t.csv", table(640)), "--target", "y",
                             "--create", "--hidden", "16", "--normalize-input", "--lr", "0.01",
                             "--epochs", "30", "--shadow-baseline", "mean")
        self.assertEqual((report["rows"], report["steps"]), (640 * 30, 20 * 30))
        scores = self.s.json("evaluate", "m", "-", "--target", "y", stdin=table(200))
        self.assertEqual(scores["rows"], "200")
        self.assertGreater(scores["r2"], 0.9)
        lines = self.s.cli("predict", "m", "-", "--output", "json", stdin="a,b\n1,2\n-2,3\n")
        predictions = [json.loads(line)["prediction"] for line in lines.splitlines()]
        self.assertEqual(len(predictions), 2)
        self.assertAlmostEqual(predictions[0], 5, delta=3)
        self.assertAlmostEqual(predictions[1], 4, delta=3)

    def test_predictions_come_as_json_csv_and_table(self):
        self.trained()
        rows = "a,b\n1,2\n3,4\n5,6\n"
        as_csv = self.s.cli("predict", "m", "-", "--output", "csv", stdin=rows).splitlines()
        as_json = self.s.cli("predict", "m", "-", "--output", "json", stdin=rows).splitlines()
        self.assertEqual(as_csv[0], "prediction")
        self.assertEqual([float(line) for line in as_csv[1:]],
                         [json.loads(line)["prediction"] for line in as_json])
        self.assertGreaterEqual(len(self.s.cli("predict", "m", "-", stdin=rows).splitlines()), 4)

    def test_labels_may_come_later(self):
        self.trained()
        asked = self.file("asked.csv", "order,a,b\nx,1,2\ny,-2,3\nz,4,0\n")
        told = self.s.cli("predict", "m", asked, "--remember", "order", "--append", "--output", "csv")
        rows = [line.split(",") for line in told.splitlines()]
        self.assertEqual(rows[0], ["order", "a", "b", "prediction"])
        served = {row[0]: float(row[3]) for row in rows[1:]}
        self.assertEqual(self.s.series()['lazynorm_remembered_predictions{model="m"}'], 3)
        self.trained()  # the model has learned since
        report = self.s.json("train", "m", self.file("y.csv", "order,y\nz,4\nx,5\n"),
                             "--prediction-id", "order", "--target", "y")
        squares = [(served["z"] - 4) ** 2, (served["x"] - 5) ** 2]
        self.assertAlmostEqual(report["model_error"], (sum(squares) / 2) ** 0.5, places=5)
        self.assertEqual((report["rows"], report["step"]), (2, 41))
        again = self.s.cli("train", "m", "-", "--prediction-id", "order", "--target", "y",
                           stdin="order,y\nx,5\ny,4\n", code=4)
        self.assertIn('UNKNOWN_PREDICTION_ID', again)
        self.assertIn('"x"', again)
        self.assertEqual(self.s.json("watch", "m", "--count", "1")["remembered_predictions"], "1")

    def test_frozen_statistics_stay_and_move_again_when_unfrozen(self):
        def running_mean():
            tensors = self.s.json("state", "m")["tensors"]
            return next(t["values"] for t in tensors if t["name"] == "0.running_mean")

        self.trained()
        self.assertTrue(self.s.json("freeze", "m")["statistics_frozen"])
        before = running_mean()
        self.trained()
        self.assertEqual(running_mean(), before)
        self.assertFalse(self.s.json("unfreeze", "m")["statistics_frozen"])
        self.s.cli("train", "m", "-", "--target", "y", stdin="a,b,y\n" + "50,60,1\n51,62,1\n" * 8)
        self.assertNotEqual(running_mean(), before)

    def test_the_state_is_torchs_state_dict(self):
        self.trained()
        state = self.s.json("state", "m")
        self.assertEqual(state["step"], "20")
        names = [tensor["name"] for tensor in state["tensors"]]
        for name in ("0.running_mean", "0.num_batches_tracked", "1.weight", "1.bias", "4.weight"):
            self.assertIn(name, names)

    def test_watch_ends_after_the_lines_it_was_asked_for(self):
        self.trained()
        status = self.s.json("watch", "m", "--count", "1")
        self.assertEqual((status["model"], status["step"]), ("m", "20"))
        self.assertEqual(len(status["batch_norm_shift"]), 2)
        self.assertGreater(status["gradient_norm"], 0)
        self.assertGreater(status["parameter_norm"], 0)
        self.assertEqual((status["drifts"], status["last_drift_step"]), ("0", "0"))
        head, line = self.s.cli("watch", "m", "--count", "1").splitlines()
        self.assertEqual(head.split()[5:9], ["gradient_norm", "drifts", "last_drift", "experts"])
        self.assertEqual(line.split()[6:8], ["0", "-"])

    def test_health_knows_the_server_its_services_and_its_models(self):
        self.trained()
        for service in ("", "liveness", "readiness", "lazynorm.v1.TrainingService", "models/m"):
            self.assertEqual(self.s.cli("health", "--service", service).strip(), "SERVING")
        self.s.cli("health", "--service", "models/nobody", code=4)


class ExitCodeTest(ServerTest):
    def test_the_exit_code_tells_a_script_what_went_wrong(self):
        server = self.server()
        server.cli("create", "m", "--in-features", "2", "--hidden", "4")
        self.assertIn("MODEL_EXISTS", server.cli("create", "m", code=1))
        self.assertIn("WIDTH_MISMATCH", server.cli("predict", "m", "-", stdin="a\n1\n", code=1))
        server.cli("train", "m", "no-such-file.csv", "--target", "y", code=2)
        server.cli("train", "m", "-", "--target", "z", stdin=table(4), code=2)
        server.cli("train", "m", "-", "--no-such-option", code=2)
        server.cli("evaluate", "nobody", "-", "--target", "y", stdin=table(4), code=4)
        server.signal()
        self.assertEqual(server.wait(), 0)
        self.assertIn("no server at", server.cli("health", code=3))

    def test_errors_are_one_line_on_stderr(self):
        server = self.server()
        said = server.cli("get", "nobody", code=4)
        self.assertRegex(said, r"\Aerror: [^\n]+\n\Z")

    def test_a_server_that_keeps_silent_is_named_and_so_is_the_timeout(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            run = subprocess.run([LAZYNORM, "--server", address, "--timeout", "700ms", "list"], capture_output=True,
                                 text=True, timeout=SOON, check=False)
        self.assertEqual((run.returncode, run.stderr),
                         (3, f"error: no answer from {address} within 700ms; --timeout gives it more\n"))

    def test_help_and_version_need_no_server(self):
        for flag in ("--help", "--version"):
            run = subprocess.run([LAZYNORM, flag], capture_output=True, text=True, check=False)
            self.assertEqual((run.returncode, run.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
