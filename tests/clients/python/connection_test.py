"""TLS, client certificates and tokens."""

import pathlib
import sys
import tempfile
import unittest

import grpc
from lazynorm import Client, DeadlineExceeded, Unavailable

from fake_server import start

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from proxy import make_certificate  # pylint: disable=wrong-import-position


class ConnectionTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.server = make_certificate(folder.name)
        self.other = make_certificate(folder.name, "other")

    def start(self, client_ca=None):
        certificate, key = (pathlib.Path(path).read_bytes() for path in self.server)
        roots = pathlib.Path(client_ca).read_bytes() if client_ca else None
        return start(self, grpc.ssl_server_credentials([(key, certificate)], roots, client_ca is not None))

    def step(self, address, timeout=60, **settings):
        with Client(address, timeout=timeout, **settings) as client:
            return client.train("m", [[1, 2]], [1]).step

    def assert_refused(self, address, **settings):
        """It is tried again for a second, of which the last try may be given too little."""
        with self.assertRaises((Unavailable, DeadlineExceeded)):
            self.step(address, timeout=1, **settings)

    def test_the_token_goes_with_every_call(self):
        fake, address = self.start()
        self.assertEqual(self.step(address, tls_ca=self.server[0], token="secret"), 1)
        self.assertEqual(fake.metadata[0]["authorization"], "Bearer secret")

    def test_a_server_of_another_authority_is_not_spoken_to(self):
        fake, address = self.start()
        self.assert_refused(address, tls_ca=self.other[0])
        self.assert_refused(address, tls=True)  # the system's authorities
        self.assertEqual(fake.requests, [])

    def test_a_server_that_asks_for_a_certificate_gets_it(self):
        fake, address = self.start(client_ca=self.other[0])
        certificate, key = self.other
        self.assertEqual(
            self.step(address, tls_ca=self.server[0], client_cert=certificate, client_key=key), 1)
        self.assert_refused(address, tls_ca=self.server[0])
        self.assertEqual(len(fake.requests), 1)

    def test_a_token_does_not_leave_this_machine_in_plain_text(self):
        with self.assertRaisesRegex(ValueError, "token: expected TLS"):
            Client("example.com:50051", token="secret")
        for address in ("localhost:1", "127.0.0.1:1", "[::1]:1", "unix:/nowhere"):
            Client(address, token="secret").close()

    def test_half_a_certificate_is_refused(self):
        with self.assertRaisesRegex(ValueError, "client_cert, client_key: expected both"):
            Client("localhost:1", client_cert="me.pem")


if __name__ == "__main__":
    unittest.main()
