"""The rules and the dashboard, against promtool and a real Prometheus that scrapes a real server."""

import contextlib
import json
import math
import pathlib
import random
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse
import urllib.request

import yaml

import npm
from certificates import Authority
from facts import DEPLOY, ROOT, documents, headings, put_under_load, series_of
from postgres import Postgres
from programs import Server, eventually

RULES = DEPLOY / "prometheus" / "rules.yaml"
DASHBOARD = DEPLOY / "grafana" / "lazynorm.json"
RULE_TESTS = ROOT / "tests" / "deploy" / "prometheus"
STEPS = 'lazynorm_model_step{model="weather"}'
COUNT, UNARY = "grpc_server_handling_seconds_count", 'grpc_method="Predict"'  # the unary predictions
TARGET_LABELS = {"job", "instance"}  # put there by Prometheus
PATIENCE = 120  # s, for what takes two
WORDS = set("and or unless on ignoring by without sum min max avg count offset bool group_left "
            "group_right".split())


def all_rules(document):
    return [rule for group in document["groups"] for rule in group["rules"]]


def alerts(document):
    return {rule["alert"]: rule for rule in all_rules(document) if "alert" in rule}


def dashboard_expressions():
    """[(panel's title, expression)]"""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", [])]


def faults_of(expression, series):
    """What in an expression is in no scrape: metrics, and labels of those. `series`: {metric: labels}."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    bare = re.sub(r"\[[^\]]*\]|\$__\w+|offset \w+", " ", bare)
    faults, labels_there = [], set(TARGET_LABELS)
    for name, matchers in re.findall(r"([a-zA-Z_][\w:]*)\s*(\{[^}]*\}|(?!\s*\(|\w))", re.sub(
            r"\b(by|without)\s*\([^)]*\)", " ", bare)):
        if name in WORDS or re.fullmatch(r"\d.*", name):
            continue
        if name not in series:
            faults.append(f"no metric {name}")
            continue
        labels_there |= series[name]
        faults += [f"{name} has no label {label}" for label in re.findall(r"(\w+)\s*[=!]", matchers)
                   if label not in series[name] | TARGET_LABELS]
    for names in re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", bare):
        faults += [f"nothing in it has a label {name}" for name in re.findall(r"\w+", names)
                   if name not in labels_there]
    return faults


def run_rule_tests(rules):
    """What promtool says of the unit tests with these rules: (exit code, output)."""
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "rules.yaml").write_text(yaml.safe_dump(rules))
        for file in RULE_TESTS.glob("*_test.yaml"):
            shutil.copy(file, folder)
        names = sorted(file.name for file in RULE_TESTS.glob("*_test.yaml"))
        run = subprocess.run(["promtool", "test", "rules", *names], cwd=folder, capture_output=True, text=True,
                             timeout=600, check=False)
    return run.returncode, run.stdout + run.stderr


class RulesTest(unittest.TestCase):
    def setUp(self):
        [self.rules] = documents(RULES)

    def test_promtool_finds_them_well_formed(self):
        for kind, file in (("rules", RULES), ("config", DEPLOY / "prometheus" / "prometheus.yaml")):
            check = subprocess.run(["promtool", "check", kind, file], capture_output=True, text=True, check=False)
            self.assertEqual(check.returncode, 0, check.stdout + check.stderr)

    def test_every_alert_fires_and_keeps_silent_as_its_unit_tests_say(self):
        code, output = run_rule_tests(self.rules)
        self.assertEqual(code, 0, output)

    def test_no_alert_may_be_always_silent_or_always_firing(self):
        for never_or_always in ("vector(1) < 0", "vector(1)"):
            broken = json.loads(json.dumps(self.rules))
            for rule in alerts(broken).values():
                rule["expr"] = never_or_always
                rule.pop("for", None)
            code, output = run_rule_tests(broken)
            self.assertNotEqual(code, 0)
            caught = set(re.findall(r"alertname: ?(\w+)", output))
            self.assertEqual(set(alerts(self.rules)) - caught, set(), f"not noticed when {never_or_always}")

    def test_every_alert_has_a_severity_a_summary_and_a_section_in_the_handbook(self):
        anchors = headings(DEPLOY / "README.md")
        for name, rule in alerts(self.rules).items():
            self.assertIn(rule["labels"]["severity"], ("page", "ticket"), name)
            self.assertTrue(rule["annotations"]["summary"], name)
            path, anchor = rule["annotations"]["runbook"].split("#")
            self.assertEqual(path, "deploy/README.md", name)
            self.assertIn(anchor, anchors, f"{name} has no section in the handbook")


class DashboardTest(unittest.TestCase):
    def test_made_anew_it_is_the_same(self):
        folder = npm.installed()
        compiler = subprocess.run(
            ["node_modules/.bin/tsc", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022",
             "--outDir", "out", "dashboard.ts"], cwd=folder, capture_output=True, text=True, timeout=600, check=False)
        self.assertEqual((compiler.returncode, compiler.stdout), (0, ""))
        self.assertEqual(npm.node("out/dashboard.js"), DASHBOARD.read_text(),
                         "lazynorm.json is not what dashboard.ts makes (build/deploy-node/out/dashboard.js)")

    def test_no_panel_covers_another(self):
        taken = {}
        for panel in json.loads(DASHBOARD.read_text())["panels"]:
            place = panel["gridPos"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertNotIn((x, y), taken, f"{panel['title']} covers {taken.get((x, y))}")
                    self.assertLess(x, 24)
                    taken[x, y] = panel["title"]


class Prometheus:
    """A Prometheus of its own that scrapes servers every second and evaluates the rules."""

    def __init__(self, folder, servers):
        targets = [f"127.0.0.1:{server.metrics_port}" for server in servers]
        config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                  "rule_files": [str(RULES)],
                  "scrape_configs": [{"job_name": "lazynorm", "static_configs": [{"targets": targets}]}]}
        file = pathlib.Path(folder) / "prometheus.yaml"
        file.write_text(yaml.safe_dump(config))
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder}/tsdb",
             "--web.listen-address=127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
        told = (re.search(r'"Listening on" address=127\.0\.0\.1:(\d+)', line) for line in self.process.stderr)
        self.port = next((found[1] for found in told if found), None)
        assert self.port, f"Prometheus ended: exit {self.process.wait()}"
        self._drain = threading.Thread(target=lambda: list(self.process.stderr))
        self._drain.start()

    def ask(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=120) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:  # not JSON while it is starting
                return {"error": error.read().decode()}
        except OSError:
            return {}

    def query(self, expression):
        """[(labels, value)]; raises for an expression that is none."""
        answer = self.ask("query", query=expression)
        if "result" not in answer:
            raise AssertionError(f"{expression}: {answer.get('error', 'no answer')}")
        return [(sample["metric"], float(sample["value"][1])) for sample in answer["result"]]

    def stop(self):
        self.process.kill()  # nobody reads what it keeps
        self.process.wait()
        self._drain.join()
        self.process.stderr.close()


def free_port():
    """Below those that the system gives to whoever asks for any: it is still free when it is bound again."""
    for port in random.sample(range(10000, 30000), 100):
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def replicas(test):
    """Two servers that follow one another and have taken calls to one another."""
    database = Postgres()
    test.addClassCleanup(database.stop)
    servers = []
    for _ in range(2):
        servers.append(Server(f"--store={database.uri}", listen=f"127.0.0.1:{free_port()}"))
        test.addClassCleanup(servers[-1].stop)
    servers[0].cli("create", "m")
    servers[1].cli("train", "m", "-", "--target", "y", stdin="a,y\n1,2\n3,4\n5,6\n")

    def told():  # some of it after a look or two
        series = series_of(servers[0].get("/metrics")[1]) | series_of(servers[1].get("/metrics")[1])
        return {"lazynorm_replica_lag_seconds", "lazynorm_forwarded_total"} <= set(series)

    eventually(told, "replicas tell how far behind they are", PATIENCE)
    return servers


def in_grafana(expression):
    """With Grafana's variables filled in; all that has happened here is within ten minutes."""
    for name, words in (("$__rate_interval", "10m"), ("$__range", "10m"), ("$__interval", "1s"),
                        ("$job", "lazynorm"), ("$model", ".*")):
        expression = expression.replace(name, words)
    return expression


def emptiness(samples):
    """Why these samples are nothing to draw; None if they are something."""
    if not samples:
        return "no data"
    if any(math.isnan(value) for _, value in samples):
        return "NaN"
    return None


class LiveTest(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.server = Server(data_dir=f"{folder.name}/data")
        cls.addClassCleanup(cls.server.stop)
        servers = [cls.server, *replicas(cls)]
        cls.prometheus = Prometheus(folder.name, servers)
        cls.addClassCleanup(cls.prometheus.stop)
        eventually(lambda: len(cls.prometheus.ask("query", query="up == 1").get("result", [])) == len(servers),
                   "a first scrape", PATIENCE)
        for _ in range(4):  # a rate needs what has grown between scrapes
            put_under_load(cls.server, folder.name)
            eventually(cls.scraped, "a scrape of it", PATIENCE)
        cls.series = cls.series_with_tls()
        for server in reversed(servers):
            cls.series |= series_of(server.get("/metrics")[1])

    @classmethod
    def scraped(cls):
        """Whether Prometheus knows what the server has learned and answered by now."""
        own, scraped = cls.server.series(), cls.prometheus.query
        predicted = sum(value for name, value in own.items() if name.startswith(COUNT) and UNARY in name)
        return ([own[STEPS]] == [value for _, value in scraped(STEPS)] and
                [predicted] == [value for _, value in scraped(f"sum({COUNT}{{{UNARY}}})")])

    @staticmethod
    def series_with_tls():
        with Authority() as authority:
            server = Server(*authority.server_flags("server"))
            try:
                return series_of(server.get("/metrics")[1])
            finally:
                server.stop()

    def test_every_expression_of_the_dashboard_returns_data(self):
        left = {f"{title}: {expression}": in_grafana(expression) for title, expression in dashboard_expressions()}
        self.assertGreater(len(left), 30)
        end = time.monotonic() + PATIENCE
        while left:  # a scrape that takes longer than its second has nothing
            found = {where: emptiness(self.prometheus.query(expression)) for where, expression in left.items()}
            left = {where: left[where] for where, why in found.items() if why}
            if time.monotonic() > end:
                break
        self.assertEqual({where: found[where] for where in left}, {})

    def test_what_names_nothing_does_not_pass_for_data(self):
        for planted in ('lazynorm_train_los{job="$job"}',
                        'rate(lazynorm_rows_trained_total{modell="x"}[$__rate_interval])',
                        "lazynorm_models / 0 * 0"):
            self.assertIsNotNone(emptiness(self.prometheus.query(in_grafana(planted))), planted)

    def test_every_rule_names_what_the_server_tells(self):
        [rules] = documents(RULES)
        known = {**self.series, "up": set()}
        recorded = {rule["record"]: {"model", "reason"} for rule in all_rules(rules) if "record" in rule}
        self.assertEqual({rule.get("alert") or rule["record"]: faults for rule in all_rules(rules)
                          if (faults := faults_of(rule["expr"], {**known, **recorded}))}, {})
        for title, expression in dashboard_expressions():
            self.assertEqual(faults_of(in_grafana(expression), known), [], title)

    def test_the_handbook_names_what_the_server_tells(self):
        handbook = (DEPLOY / "README.md").read_text()
        names = set(re.findall(r"`((?:lazynorm|grpc|process)_[a-z_]+)(?:\{\w+\})?`", handbook))
        self.assertIn("lazynorm_recovery_seconds", names)
        told = {name.removesuffix("_count") for name in self.series} | set(self.series)
        self.assertEqual(names - told, set())

    def test_a_wrong_name_in_a_rule_is_noticed(self):
        for planted in ("lazynorm_train_los > 1", 'up{jobb="x"}', "sum by (modell) (lazynorm_train_loss)",
                        "increase(lazynorm_drifts_total[1h]) > 0",
                        'lazynorm_batch_norm_shift{layers="0"}', "a and lazynorm_train_loss"):
            self.assertNotEqual(faults_of(planted, {**self.series, "up": set()}), [], planted)
        for sound in ('avg_over_time(lazynorm_batch_norm_shift{layer="0"}[15m]) > 3 * 2',
                      'sum by (job, le) (rate(lazynorm_step_seconds_bucket{model=~"a"}[5m])) unless up == 0'):
            self.assertEqual(faults_of(sound, {**self.series, "up": set()}), [], sound)

    def test_a_healthy_server_under_load_raises_no_page(self):
        def health():
            return {rule["name"]: rule["health"] for group in self.prometheus.ask("rules").get("groups", [])
                    for rule in group["rules"]}

        eventually(lambda: self.prometheus.query("lazynorm:predict_slow:ratio_rate5m"), "a recorded rule", PATIENCE)
        eventually(lambda: "unknown" not in (health() or {"": "unknown"}).values(), "every rule's turn", PATIENCE)
        self.assertEqual({name: state for name, state in health().items() if state != "ok"}, {})
        pages = {labels["alertname"] for labels, _ in self.prometheus.query(
            'ALERTS{alertstate="firing",severity="page"}')}
        self.assertEqual(pages - self.pages_in_earnest(), set())

    def pages_in_earnest(self):
        """What a machine that is busy with other things may deserve: an answer within 10 ms is promised of
        one that is not. By the server's own count; a few late ones of the 80 are no reason."""
        late = 0
        for name, value in self.server.series().items():
            if UNARY in name:
                late += value if name.startswith(COUNT) else -value if 'le="0.01"' in name else 0
        return {"LazynormPredictSlow"} if late > 2 else set()


if __name__ == "__main__":
    unittest.main()
