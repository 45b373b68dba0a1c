"""Two servers over one PostgreSQL, with certificates and tokens: a caller of either is served alike."""

import socket
import unittest

from certificates import Authority
from postgres import Postgres
from programs import ServerTest, eventually, table
from security_test import new_token

MODELS = ("one", "two", "three", "four")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class ReplicasTest(ServerTest):
    def setUp(self):
        postgres = Postgres()
        self.addCleanup(postgres.stop)
        authority = Authority()
        self.addCleanup(authority.__exit__)
        certificate, key = authority.sign("replica")
        tokens = authority.path("tokens")
        self.admin = new_token("admin", "--role", "admin", file=tokens)
        self.reader = new_token("reader", "--role", "predict", file=tokens)
        self.trust = ["--tls-ca", authority.ca, "--tls-cert", certificate, "--tls-key", key]
        flags = [f"--store={postgres.uri}", f"--tls_cert={certificate}", f"--tls_key={key}",
                 f"--tls_client_ca={authority.ca}", f"--auth_tokens_file={tokens}"]
        self.replicas = []
        for _ in range(2):
            port = free_port()  # the others are told before it is bound
            self.replicas.append(self.server(*flags, f"--advertise=localhost:{port}", listen=f"127.0.0.1:{port}"))

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
            steps = [replica.json(*as_reader, "get", model)["step"] for replica in self.replicas]
            self.assertEqual(steps[1], steps[0])
            self.assertGreater(int(steps[0]), 0)
        forwarded = sum(value for replica in self.replicas for name, value in replica.series().items()
                        if name.startswith("lazynorm_forwarded_total"))
        self.assertGreater(forwarded, 0)
        for replica in self.replicas:
            self.assertNotIn(self.admin, "".join(replica.log))


if __name__ == "__main__":
    unittest.main()
