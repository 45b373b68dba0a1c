"""The page at / of the metrics port, in a real browser, while a model learns."""

import json
import os
import re
import subprocess
import threading
import unittest

import npm
from facts import BUILD, DEPLOY, WEATHER, predict_once, version
from programs import BIN, ServerTest, eventually

PICTURES = BUILD / "pictures"  # to be looked at


class PageTest(ServerTest):
    def feed(self, server):
        environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "LAZYNORM_SERVER": server.address}
        feed = subprocess.Popen(["sh", DEPLOY / "weather-stream.sh", WEATHER], env=environment,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(feed.wait)
        self.addCleanup(feed.terminate)
        eventually(lambda: server.series().get('lazynorm_model_step{model="weather"}', 0) > 2, "learning")

    def keep_predicting(self, server):
        """Until what it returns is called."""
        done = threading.Event()

        def predict():
            while not done.wait(0.3):
                predict_once(server)
        thread = threading.Thread(target=predict)
        thread.start()

        def stop():
            done.set()
            thread.join()
        self.addCleanup(stop)
        return stop

    def test_a_person_sees_live_charts_in_light_dark_and_on_a_narrow_screen(self):
        server = self.server()
        self.feed(server)
        server.cli("create", "untrained", "--hidden", "4")
        PICTURES.mkdir(exist_ok=True)
        browser = subprocess.Popen(
            ["node", "page.js", f"http://127.0.0.1:{server.metrics_port}/", str(PICTURES), "weather"],
            cwd=npm.installed(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(browser.communicate)
        self.addCleanup(browser.kill)
        stop_predicting = self.keep_predicting(server)
        seen = {}
        for _ in range(4):
            line = browser.stdout.readline()
            self.assertTrue(line, browser.stderr.read() if not line else "")
            seen.update({json.loads(line)["name"]: json.loads(line)})
        stop_predicting()
        server.stop()
        rest, errors = browser.communicate("gone\n", timeout=300)
        self.assertEqual(browser.returncode, 0, errors)

        for name in ("light", "dark", "narrow"):
            self.check_charts(seen[name])
        self.assertNotEqual(seen["light"]["background"], seen["dark"]["background"])
        self.assertFalse(seen["narrow"]["wide"], "it must be scrolled sideways on a narrow screen")
        self.assertEqual(seen["filtered"]["models"], [])
        self.assertEqual(seen["filtered"]["complaints"], [])
        self.assertEqual(seen["filtered"]["hosts"], [f"127.0.0.1:{server.metrics_port}"])
        self.assertEqual(json.loads(rest)["state"], "no answer")

    def check_charts(self, page):
        self.assertEqual(page["state"], "serving")
        self.assertEqual(page["version"], version())
        self.assertEqual(page["figures"]["Models"], "2")
        self.assertRegex(page["figures"]["Predict p99, unary"], r"^[\d.]+ (µs|ms|s)$")
        self.assertRegex(page["figures"]["Memory"], r"^[\d.]+ MiB$")
        self.assertEqual([model["name"] for model in page["models"]], ["untrained", "weather"])
        untrained, weather = page["models"]
        charts = {chart["title"]: chart for chart in weather["charts"]}
        for title, label in (("Loss", r"prequential [\d.]+train [\d.]+"),
                             ("Time of a step", r"p50 [\d.]+ [µm]?sp99 [\d.]+ [µm]?s$"),
                             ("Per second", r"steps [\d.]+rows predicted [\d.]+"),
                             ("Batch shift, in deviations", r"layer 0 [\d.]+")):
            self.assertRegex(charts[title]["label"], f"^{title}: {label}")
            for line in charts[title]["lines"]:
                points = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", line)
                self.assertGreater(len(points), 3, f"{title} is hardly drawn: {line}")
                self.assertTrue(all(0 <= float(x) <= 300 and 0 <= float(y) <= 100 for x, y in points), line)
        # What has no value is not drawn, and not as 0 either.
        self.assertEqual(untrained["charts"][0]["lines"], ["", ""])
        self.assertIn("prequential –", untrained["charts"][0]["label"])

    def test_it_can_be_turned_off(self):
        server = self.server("--web_page=false")
        self.assertEqual(server.get("/")[0], 404)
        self.assertEqual(server.get("/metrics")[0], 200)
        self.assertEqual(self.server().get("/")[0], 200)


if __name__ == "__main__":
    unittest.main()
