"""Two servers over one PostgreSQL, with certificates and tokens: a caller of either is served alike."""

import json
import pathlib
import socket
import subprocess
import unittest
import urllib.request

import grpc

from certificates import Authority
from postgres import Postgres
from programs import SOON, ServerTest, eventually, table
from security_test import connected, new_token

MODELS = ("one", "two", "three", "four")


def keep_port(test):
    """A free port, for a server of that test alone: bound here too, though not listened at, no one else is given it."""
    kept = socket.socket()
    test.addCleanup(kept.close)
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    return kept.getsockname()[1]


class TwoReplicas(ServerTest):
    """Two servers that show each other, and want to see, certificates of one authority."""

    def setUp(self):
        self.postgres = Postgres()
        self.addCleanup(self.postgres.stop)
        self.authority = Authority()
        self.addCleanup(self.authority.__exit__)

    def serve(self, *flags):
        self.certificate, self.key = self.authority.sign("replica")
        flags = [f"--store={self.postgres.uri}", f"--tls_cert={self.certificate}", f"--tls_key={self.key}",
                 f"--tls_client_ca={self.authority.ca}", "--lease_timeout=60s", *flags]  # no stall loses a lease
        self.replicas = []
        for _ in range(2):
            port = keep_port(self)  # the others are told before it is bound
            self.replicas.append(self.server(*flags, f"--advertise=localhost:{port}", listen=f"127.0.0.1:{port}"))

    def as_caller(self, certificate, key):
        return ["--tls-ca", self.authority.ca, "--tls-cert", certificate, "--tls-key", key]


class TokensTest(TwoReplicas):
    def setUp(self):
        super().setUp()
        tokens = self.authority.path("tokens")
        self.admin = new_token("admin", "--role", "admin", file=tokens)
        self.reader = new_token("reader", "--role", "predict", file=tokens)
        self.serve(f"--auth_tokens_file={tokens}")
        self.trust = self.as_caller(self.certificate, self.key)

    def test_calls_reach_the_writer_as_the_callers_own(self):
        rows = self.file("rows.csv", table(64))
        as_admin, as_reader = [*self.trust, "--token", self.admin], [*self.trust, "--token", self.reader]
        for model in MODELS:  # each is written by one of the two, and trained through both
            self.replicas[0].cli(*as_admin, "create", model, "--like", rows, "--target", "y")
            for replica in self.replicas:
                eventually(lambda r=replica, m=model: m in r.cli(*as_admin, "list"), "the model is known")
                replica.cli(*as_admin, "train", model, rows, "--target", "y")
                refused = replica.cli(*as_reader, "train", model, rows, "--target", "y", code=1)
                self.assertIn("PERMISSION_DENIED", refused)
            def steps(name=model):
                return [int(replica.json(*as_reader, "get", name)["step"]) for replica in self.replicas]
            eventually(lambda: min(steps()) == 4, "both stand at the step of two passes over 64 rows")
            self.assertEqual(steps(), [4, 4])
        forwarded = sum(value for replica in self.replicas for name, value in replica.series().items()
                        if name.startswith("lazynorm_forwarded_total"))
        self.assertGreater(forwarded, 0)
        for replica in self.replicas:
            self.assertNotIn(self.admin, "".join(replica.log))

    def test_rest_reaches_the_writer_as_the_callers_own(self):
        rows = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
        for i, replica in enumerate(self.replicas):  # a lazy model's width is fixed where it is written
            self.replicas[0].cli(*self.trust, "--token", self.admin, "create", f"lazy-{i}")
            eventually(lambda r=replica, m=f"lazy-{i}": m in r.cli(*self.trust, "--token", self.reader, "list"),
                       "the model is known")
            asked = urllib.request.Request(f"http://127.0.0.1:{replica.metrics_port}/v2/models/lazy-{i}/infer",
                                           json.dumps(rows).encode(), {"Authorization": f"Bearer {self.reader}"})
            with urllib.request.urlopen(asked, timeout=SOON) as answer:
                self.assertEqual(json.load(answer)["model_name"], f"lazy-{i}")


class CertificatesTest(TwoReplicas):
    """Callers that are known by their certificates alone."""

    def setUp(self):
        super().setUp()
        self.serve("--max_calls_in_flight=1")
        self.feeder = self.authority.sign("feeder")
        self.secret = subprocess.run(["psql", "-At", "-c", "select value from lazynorm.secret", self.postgres.uri],
                                     capture_output=True, text=True, timeout=SOON, check=True).stdout.strip()

    def audit(self, count):
        """What all replicas say of freezing, once they have said so much."""
        def lines():
            log = [line for replica in self.replicas for line in replica.log]
            return [line[line.index("event=audit"):].strip() for line in log if "/FreezeStatistics " in line]
        eventually(lambda: len(lines()) >= count, f"{count} lines of the audit")
        self.assertEqual(len(lines()), count)
        return lines()

    def freeze(self, replica, model, *metadata):
        """As whoever has the feeder's certificate, and more to say of itself. The call's code."""
        certificate, key, ca = (pathlib.Path(path).read_bytes() for path in (*self.feeder, self.authority.ca))
        credentials = grpc.ssl_channel_credentials(ca, key, certificate)
        request = b"\x0a" + bytes([len(model)]) + model.encode()
        with connected(grpc.secure_channel(replica.address, credentials)) as channel:
            call = channel.unary_unary("/lazynorm.v1.ModelService/FreezeStatistics")
            try:
                return call.with_call(request, metadata=metadata, timeout=SOON)[1].code()
            except grpc.RpcError as error:
                return error.code()

    def test_each_call_is_audited_once_as_its_callers_own_wherever_it_is_done(self):
        caller = self.as_caller(*self.feeder)
        for model in MODELS:
            self.replicas[0].cli(*caller, "create", model)
            for replica in self.replicas:
                eventually(lambda r=replica, m=model: m in r.cli(*caller, "list"), "the model is known")
                self.assertEqual(self.freeze(replica, model), grpc.StatusCode.OK)
        lines = self.audit(2 * len(MODELS))
        for line in lines:
            self.assertIn('caller="certificate:feeder" ', line)
            self.assertRegex(line, r'code=OK( writer="localhost:\d+")?$')
        series = 'lazynorm_forwarded_total{grpc_method="FreezeStatistics"}'
        taken = sum(replica.series().get(series, 0) for replica in self.replicas)
        self.assertGreater(taken, 0)
        self.assertEqual(len([line for line in lines if "writer=" in line]), taken)
        self.assertNotIn("certificate:replica", "".join(line for replica in self.replicas for line in replica.log))

    def test_a_caller_that_says_a_replica_had_brought_it_is_not_believed(self):
        self.replicas[0].cli(*self.as_caller(*self.feeder), "create", "m")
        writer = self.replicas[0]
        for guess in ("1", "", self.secret[:-1], self.secret[::-1]):
            self.assertEqual(self.freeze(writer, "m", ("lazynorm-forwarded", guess)), grpc.StatusCode.OK)
        self.audit(4)
        # Only who knows it is believed, and then has no line here.
        self.assertRegex(self.secret, "^[0-9a-f]{64}$")
        self.freeze(writer, "m", ("lazynorm-forwarded", self.secret))
        self.freeze(writer, "m")
        self.audit(5)
        for replica in self.replicas:
            self.assertNotIn(self.secret, "".join(replica.log))


if __name__ == "__main__":
    unittest.main()
