"""Certificates for tests, made by openssl in a folder of their own."""

import os
import subprocess
import tempfile

NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], capture_output=True, timeout=180, check=True)


class Authority:
    """Signs certificates. Its own is `ca`; a context, whose folder goes with it."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        self.ca, self._ca_key = self.path("ca.pem"), self.path("ca.key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-subj", "/CN=Authority", "-days", "2", "-keyout", self._ca_key, "-out", self.ca)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._folder.cleanup()

    def path(self, name):
        return os.path.join(self._folder.name, name)

    def sign(self, name, expired=False):
        """(certificate, key) for `name`, of this machine."""
        certificate, key, request = (self.path(f"{name}.{end}") for end in ("pem", "key", "csr"))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                f"/CN={name}", "-addext", NAMES, "-keyout", key, "-out", request)
        time = (["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"] if expired else
                ["-days", "1"])
        with open(self.path("index.txt"), "w", encoding="utf-8"):
            pass
        settings = self.path("ca.cnf")
        with open(settings, "w", encoding="utf-8") as file:
            file.write(f"[ca]\ndefault_ca=a\n[a]\ndatabase={self.path('index.txt')}\nnew_certs_dir={self._folder.name}\n"
                       "rand_serial=yes\ndefault_md=sha256\npolicy=p\ncopy_extensions=copy\n[p]\ncommonName=supplied\n")
        openssl("ca", "-batch", "-notext", "-config", settings, "-cert", self.ca, "-keyfile", self._ca_key,
                "-in", request, "-out", certificate, *time)
        return certificate, key

    def server_flags(self, name):
        certificate, key = self.sign(name)
        return [f"--tls_cert={certificate}", f"--tls_key={key}"]
