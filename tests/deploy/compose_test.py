"""The compose file: what docker-compose says of it, and that its parts fit each other and the program."""

import copy
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from facts import DEPLOY, WEATHER, documents, server_flags, version
from programs import BIN, Server, eventually

FILE = DEPLOY / "compose.yaml"
REPLICATED = DEPLOY / "compose.replicated.yaml"


def faults_of(compose):
    """What in it fits neither its other parts nor the program."""
    services = compose["services"]
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith(".") and not (DEPLOY / source).exists():
                yield f"{name} mounts {source}, which is not there"
            if not source.startswith(".") and source not in compose["volumes"]:
                yield f"{name} mounts {source}, which is no volume"
        for other in service.get("depends_on", []):
            if other not in services:
                yield f"{name} depends on {other}, which is no service"
        for port in service.get("ports", []):
            if not port.startswith("127.0.0.1:"):
                yield f"{name} opens {port} to everybody"
        if service["image"].startswith("lazynorm") and service["image"] != f"lazynorm:{version()}":
            yield f"{name} is another version's image"
        if "latest" in service["image"] or ":" not in service["image"]:
            yield f"the version of {service['image']} is left open"
    lazynorm = services["lazynorm"]
    for argument in lazynorm.get("command", []):
        found = re.fullmatch(r"--(\w+)=\S*", argument)
        if not found or found[1] not in server_flags():
            yield f"{argument} is no flag of lazynormd"
    inside = {port.split(":")[-1] for port in lazynorm["ports"]}
    flags = server_flags()
    if inside != {flags[name].rpartition(":")[2] for name in ("listen", "metrics_listen")}:
        yield "the ports are not the program's"
    yield from faults_between(compose)


def faults_between(compose):
    """Host names, ports and paths that one service uses of another."""
    services = compose["services"]
    mounts = {name: [volume.split(":")[1] for volume in service.get("volumes", [])]
              for name, service in services.items()}
    [prometheus] = documents(DEPLOY / "prometheus" / "prometheus.yaml")
    targets = [t for job in prometheus["scrape_configs"] for c in job["static_configs"] for t in c["targets"]]
    addresses = {f"{name}:{port.split(':')[-1]}" for name, service in services.items()
                 for port in service.get("ports", [])}
    [sources] = documents(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml")
    wanted = targets + [s["url"].removeprefix("http://") for s in sources["datasources"]]
    wanted.append(services["weather"]["environment"]["LAZYNORM_SERVER"])
    for address in wanted:
        if address not in addresses:
            yield f"nobody answers at {address}"
    for file in prometheus["rule_files"]:
        if f"/etc/prometheus/{file}" not in mounts["prometheus"]:
            yield f"Prometheus does not see {file}"
    [dashboards] = documents(DEPLOY / "grafana" / "provisioning" / "dashboards" / "lazynorm.yaml")
    for provider in dashboards["providers"]:
        if not any(path.startswith(provider["options"]["path"] + "/") for path in mounts["grafana"]):
            yield "Grafana finds no dashboard where it looks"
    if services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] not in mounts["grafana"]:
        yield "Grafana's first dashboard is not there"
    for path in services["weather"]["entrypoint"][1:]:
        if path not in mounts["weather"]:
            yield f"the client has no {path}"


def faults_of_replicas(compose):
    """What in it keeps servers from being replicas of each other."""
    services, flags = compose["services"], server_flags()
    inside = {flags[name].rpartition(":")[2] for name in ("listen", "metrics_listen")}
    stores, outside = set(), []
    replicas = {name: service for name, service in services.items() if service["image"].startswith("lazynorm")}
    if len(replicas) < 3:
        yield "too few replicas"
    for name, service in replicas.items():
        values = dict(re.fullmatch(r"--(\w+)=(\S+)", argument).groups() for argument in service["command"])
        yield from (f"no flag --{flag}" for flag in values if flag not in flags)
        stores.add(values.get("store"))
        if values.get("advertise") != f"{name}:{flags['listen'].rpartition(':')[2]}":
            yield f"{name} is not where it says"
        if service["image"] != f"lazynorm:{version()}":
            yield f"{name} is another version's image"
        if {port.rpartition(":")[2] for port in service["ports"]} != inside:
            yield f"{name}: the ports are not the program's"
        outside += [port.rpartition(":")[0] for port in service["ports"]]
        if service["depends_on"].keys() - services:
            yield f"{name} depends on what is no service"
    if len(outside) != len(set(outside)) or not all(port.startswith("127.0.0.1:") for port in outside):
        yield "ports are open to everybody, or twice the same"
    if len(stores) != 1 or not re.fullmatch(r"postgresql://lazynorm@postgres/lazynorm", stores.pop() or ""):
        yield "they do not share the database that is there"
    if not re.fullmatch(r"postgres:\d+\.\d+", services["postgres"]["image"]):
        yield "the database's version is left open"


def first_replica(change):
    return lambda compose: change(compose["services"]["lazynorm-0"])


PLANTED_IN_REPLICAS = [
    lambda c: c["services"].pop("lazynorm-2"),
    lambda c: c["services"]["postgres"].update(image="postgres:latest"),
    first_replica(lambda s: s.update(command=[*s["command"], "--adverti=x"])),
    first_replica(lambda s: s["command"].__setitem__(1, "--advertise=lazynorm-1:50051")),
    first_replica(lambda s: s["command"].__setitem__(0, "--store=postgresql://lazynorm@postgres/other")),
    first_replica(lambda s: s.update(image="lazynorm:0.0.9")),
    first_replica(lambda s: s.update(ports=["127.0.0.1:50052:50051", "127.0.0.1:9464:9464"])),
    first_replica(lambda s: s.update(ports=["50051:50051", "9464:9464"])),
    first_replica(lambda s: s.update(ports=["127.0.0.1:50051:50051"])),
    first_replica(lambda s: s.update(depends_on={"database": {}})),
]
PLANTED = [
    lambda c: c["services"]["lazynorm"].update(command=["--drain=1s"]),
    lambda c: c["services"]["lazynorm"].update(image="lazynorm:0.0.9"),
    lambda c: c["services"]["lazynorm"].update(ports=["127.0.0.1:50052:50052"]),
    lambda c: c["services"]["grafana"].update(ports=["3000:3000"]),
    lambda c: c["services"]["grafana"].update(image="grafana/grafana:latest"),
    lambda c: c["services"]["weather"].update(depends_on=["lazynormd"]),
    lambda c: c["services"]["weather"].update(environment={"LAZYNORM_SERVER": "lazynormd:50051"}),
    lambda c: c["services"]["weather"].update(entrypoint=["sh", "/stream.sh"]),
    lambda c: c["services"]["prometheus"]["volumes"].pop(1),
    lambda c: c["services"]["prometheus"]["volumes"].append("./prometheus.yml:/x"),
    lambda c: c["services"]["grafana"]["volumes"].pop(),
    lambda c: c["volumes"].pop("models"),
]


class ComposeTest(unittest.TestCase):
    def setUp(self):
        [self.compose] = documents(FILE)

    def test_docker_compose_can_read_it_and_notices_a_wrong_field(self):
        def check(text):
            with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
                file.write(text)
                file.flush()
                return subprocess.run(["docker-compose", "-p", "lazynorm", "--project-directory", DEPLOY,
                                       "-f", file.name, "config", "-q"],
                                      capture_output=True, text=True, timeout=300, check=False)
        for file in (FILE, REPLICATED):
            sound = check(file.read_text())
            self.assertEqual(sound.returncode, 0, sound.stderr)
            self.assertNotEqual(check(file.read_text().replace("read_only:", "readonly:")).returncode, 0)

    def test_its_parts_fit_each_other_and_the_program(self):
        self.assertEqual(list(faults_of(self.compose)), [])

    def test_every_fault_planted_is_noticed(self):
        for number, plant in enumerate(PLANTED):
            broken = copy.deepcopy(self.compose)
            plant(broken)
            self.assertNotEqual(list(faults_of(broken)), [], f"fault {number}")

    def test_the_replicas_share_a_database_and_reach_each_other(self):
        [replicated] = documents(REPLICATED)
        self.assertEqual(list(faults_of_replicas(replicated)), [])
        for number, plant in enumerate(PLANTED_IN_REPLICAS):
            broken = copy.deepcopy(replicated)
            plant(broken)
            self.assertNotEqual(list(faults_of_replicas(broken)), [], f"fault {number}")

    def test_its_client_teaches_a_model_and_asks_it(self):
        self.assertIsNotNone(shutil.which("sh"))
        server = Server()
        self.addCleanup(server.stop)
        environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "LAZYNORM_SERVER": server.address}
        client = subprocess.Popen(["sh", DEPLOY / "weather-stream.sh", WEATHER], env=environment,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for name in ("model_step", "rows_predicted_total"):
                eventually(lambda n=name: server.series().get(f'lazynorm_{n}{{model="weather"}}', 0) > 5, name)
        finally:
            client.terminate()
            client.wait(timeout=120)


if __name__ == "__main__":
    unittest.main()
