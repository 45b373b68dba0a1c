"""Who is let in: certificates of openssl's, tokens of lazynorm's own, over real sockets."""

import os
import pathlib
import re
import shutil
import subprocess
import time
import unittest

import grpc

from certificates import Authority
from programs import LAZYNORM, SOON, ServerTest, eventually

ROOT = pathlib.Path(__file__).resolve().parents[2]
HANDBOOK = ROOT / "deploy" / "README.md"
ROLES = ("none", "predict", "train", "admin")
FILES = {"ModelService": "lazynorm.v1", "TrainingService": "lazynorm.v1", "PredictionService": "lazynorm.v1",
         "GRPCInferenceService": "inference"}


def new_token(name, *options, file=None):
    """A token, whose line is added to a tokens file."""
    append = ["--append", file] if file else []
    run = subprocess.run([LAZYNORM, "token", name, *options, *append], capture_output=True, text=True, timeout=SOON,
                         check=True)
    return run.stdout.strip()


def connected(channel):
    """The channel, once it is. gRPC before 1.61 gives up a first attempt once in a while (grpc/grpc#35064)."""
    grpc.channel_ready_future(channel).result(timeout=SOON)
    return channel


def replace(source, path):
    """Copies a file to where a server may look at any time: it sees the old one or all of the new one."""
    shutil.copy(source, f"{path}.new")
    os.replace(f"{path}.new", path)


def methods():
    """{service: [method]} of the .proto files."""
    found = {}
    for file in (ROOT / "proto").glob("*/**/*.proto"):
        text = file.read_text()
        package = re.search(r"^package ([\w.]+);", text, re.MULTILINE)[1]
        for service, body in re.findall(r"^service (\w+) \{(.*?)^\}", text, re.MULTILINE | re.DOTALL):
            found[f"{package}.{service}"] = re.findall(r"^  rpc (\w+)", body, re.MULTILINE)
    return found


def table_of_roles():
    """{method of lazynorm's own services: role} as the handbook has it."""
    rows = dict(re.findall(r"^\| (?:`(?=\w+` \| `))?(none|predict|train|admin)`? \| (.*) \|$",
                           HANDBOOK.read_text(), re.MULTILINE))
    return {method: role for role, cell in rows.items() for method in re.findall(r"`(\w+)`", cell)}


class TokensFileTest(ServerTest):
    def test_a_token_has_a_line_of_its_own_whatever_the_file_ends_in(self):
        tokens = self.file("tokens", "# who may call")  # no end of line
        first, second = new_token("one", file=tokens), new_token("two", file=tokens)
        server = self.server(f"--auth_tokens_file={tokens}")
        for token in (first, second):
            server.cli("--token", token, "list")
        with open(tokens, encoding="utf-8") as file:
            self.assertEqual(len(file.readlines()), 3)


class TlsTest(ServerTest):
    def setUp(self):
        self.authority = Authority()
        self.addCleanup(self.authority.__exit__)
        self.other = Authority()
        self.addCleanup(self.other.__exit__)

    def serve(self, *flags):
        return self.server(*self.authority.server_flags("server"), *flags)

    def test_only_who_trusts_the_authority_is_connected(self):
        server = self.serve()
        self.assertIn("SERVING", server.cli("--tls-ca", self.authority.ca, "health"))
        said = server.cli("--tls-ca", self.other.ca, "health", code=3)
        self.assertEqual(said, f"error: no TLS with {server.address}: its certificate is not by an authority that "
                               "--tls-ca names (without it: that this system trusts), or has ended\n")
        self.assertIn("may want TLS", server.cli("health", code=3))

    def test_what_keeps_tls_from_beginning_is_one_sentence(self):
        plain = self.server()
        self.assertRegex(plain.cli("--tls-ca", self.authority.ca, "health", code=3),
                         r"\Aerror: no TLS with 127\.0\.0\.1:\d+: it speaks plain text; leave out --tls, [^\n]+\n\Z")
        elsewhere = self.server(*self.authority.server_flags("server"), listen="127.0.0.2:0")
        elsewhere.address = f"127.0.0.2:{elsewhere.ports[0]}"
        self.assertEqual(elsewhere.cli("--tls-ca", self.authority.ca, "health", code=3),
                         f"error: no TLS with {elsewhere.address}: its certificate is for other names than this\n")
        certificate, _ = self.authority.sign("caller")
        _, other_key = self.other.sign("caller")
        server = self.serve()
        for options in (["--tls-ca", other_key],
                        ["--tls-ca", self.authority.ca, "--tls-cert", certificate, "--tls-key", other_key]):
            self.assertRegex(server.cli(*options, "health", code=3),
                             r"\Aerror: no TLS with [^\n]+ has a file that cannot be used; [^\n]+\n\Z")

    def test_an_expired_certificate_of_the_server_is_refused_and_told(self):
        certificate, key = self.authority.sign("late", expired=True)
        server = self.server(f"--tls_cert={certificate}", f"--tls_key={key}")
        self.assertIn("event=certificate_expired ended=2020-01-02T00:00:00", "".join(server.log))
        server.cli("--tls-ca", self.authority.ca, "health", code=3)
        self.assertEqual(server.series()["lazynorm_certificate_expiry_timestamp_seconds"], 1577923200)

    def test_callers_need_a_certificate_where_authorities_are_named(self):
        server = self.serve(f"--tls_client_ca={self.authority.ca}")
        trust = ["--tls-ca", self.authority.ca]
        for pair, code in ((self.authority.sign("good"), 0), (self.other.sign("stranger"), 3),
                           (self.authority.sign("late", expired=True), 3)):
            server.cli(*trust, "--tls-cert", pair[0], "--tls-key", pair[1], "list", code=code)
        self.assertIn("certificate", server.cli(*trust, "list", code=3))

    def test_the_caller_of_an_audited_call_is_named_by_its_certificate(self):
        server = self.serve(f"--tls_client_ca={self.authority.ca}")
        certificate, key = self.authority.sign("a feeder")
        server.cli("--tls-ca", self.authority.ca, "--tls-cert", certificate, "--tls-key", key, "create", "m")
        server.logs('event=audit caller="certificate:a feeder" ')

    def test_certificates_are_replaced_while_it_serves_and_bad_ones_are_not_used(self):
        certificate, key = self.authority.sign("first")
        server = self.server(f"--tls_cert={certificate}", f"--tls_key={key}", listen="127.0.0.1:0,127.0.0.1:0")
        addresses = [f"127.0.0.1:{port}" for port in server.ports]

        def served(authority):
            codes = []
            for address in addresses:
                health = [LAZYNORM, "--server", address, "--timeout", server.timeout, "--tls-ca", authority.ca, "health"]
                codes.append(subprocess.run(health, capture_output=True, timeout=SOON, check=False).returncode)
            return codes == [0, 0]

        def logged(event):
            return len([line for line in server.log if f"event={event}" in line])

        def failed():
            return server.series()['lazynorm_reload_failed{what="tls"}']

        self.assertTrue(served(self.authority))
        self.assertEqual(failed(), 0)
        second, second_key = self.other.sign("second")
        replace(second, certificate)  # the key does not fit yet
        eventually(lambda: logged("reload_failed") == 1, "the pair is refused")
        time.sleep(2.2)  # the files are looked at again, and have not changed
        self.assertEqual((failed(), logged("reload_failed")), (1, 1))
        self.assertTrue(served(self.authority))
        replace(second_key, key)
        eventually(lambda: logged("certificate_loaded") == 2, "the pair is used")
        eventually(lambda: failed() == 0, "all is well again")
        self.assertTrue(served(self.other))
        self.assertFalse(served(self.authority))
        late, late_key = self.authority.sign("late", expired=True)
        for bad, bad_key in ((late, late_key), (os.devnull, os.devnull)):
            before = logged("reload_failed")
            replace(bad_key, key)
            replace(bad, certificate)
            eventually(lambda n=before: logged("reload_failed") > n, "the bad pair is refused")
            self.assertTrue(served(self.other))
        before = logged("reload_failed")
        os.remove(certificate)
        eventually(lambda: logged("reload_failed") > before, "it is missed")
        self.assertTrue(served(self.other))
        self.assertEqual((failed(), logged("certificate_loaded")), (1, 2))

    def test_a_unix_socket_stays_plain(self):
        path = os.path.join(self.folder(), "s")
        server = self.server(*self.authority.server_flags("server"), listen=f"unix:{path}")
        server.address = f"unix:{path}"
        self.assertIn("SERVING", server.cli("health"))


class StartTest(ServerTest):
    def refused(self, *flags):
        run = self.run_server("--metrics_listen=", *flags)
        self.assertEqual(run.returncode, 1, run.stderr)
        return run.stderr

    def test_plain_text_beyond_the_loopback_has_to_be_meant(self):
        self.assertIn("--insecure", self.refused("--listen=0.0.0.0:0"))
        self.assertIn("--insecure", self.refused("--listen=127.0.0.1:0,[::]:0"))

    def test_files_that_cannot_be_used_are_named(self):
        with Authority() as authority:
            certificate, key = authority.sign("a")
            _, other_key = authority.sign("b")
            tls = ["--listen=127.0.0.1:0", f"--tls_cert={certificate}"]
            self.assertIn("expected both", self.refused(*tls))
            self.assertIn("--tls_key: expected", self.refused(*tls, f"--tls_key={other_key}"))
            self.assertIn("cannot read /nowhere", self.refused(*tls, "--tls_key=/nowhere"))
            self.assertIn("--tls_client_ca: expected", self.refused(*tls, f"--tls_key={key}", f"--tls_client_ca={key}"))
        tokens = self.file("tokens", "a-token-in-plain-text\n")
        said = self.refused("--listen=127.0.0.1:0", f"--auth_tokens_file={tokens}")
        self.assertIn("--auth_tokens_file: line 1: expected", said)
        self.assertNotIn("a-token", said)


class TokenTest(ServerTest):
    def setUp(self):
        self.tokens = os.path.join(self.folder(), "tokens")
        self.by_role = {role: new_token(f"the-{role}", "--role", role, file=self.tokens) for role in ROLES[1:]}

    def serve(self, *flags, **options):
        return self.server(f"--auth_tokens_file={self.tokens}", *flags, **options)

    def test_each_method_wants_the_role_that_the_handbook_says(self):
        server = self.serve()
        roles, asked = table_of_roles(), set()
        with connected(grpc.insecure_channel(server.address)) as channel:
            for service, names in methods().items():
                for method in names:
                    health = service == "grpc.health.v1.Health"
                    role = "none" if health else roles.get(method, "predict")
                    if service.startswith("lazynorm.v1."):
                        self.assertIn(method, roles)
                        asked.add(method)
                    for caller in ROLES:
                        with self.subTest(service=service, method=method, caller=caller):
                            self.assertEqual(self.let_in(channel, f"/{service}/{method}", caller),
                                             ROLES.index(caller) >= ROLES.index(role))
        self.assertEqual({method for method in roles if method[0].isupper()} - asked, set())
        self.assertGreater(len(asked), 20)

    def let_in(self, channel, path, caller):
        """Whether a call with nothing in it comes further than the door."""
        metadata = [("authorization", f"Bearer {self.by_role[caller]}")] if caller != "none" else []
        call = channel.stream_stream(path)(iter([b""]), metadata=metadata, timeout=SOON)
        try:
            if "Watch" in path:  # has no end
                next(call)
                call.cancel()
            else:
                list(call)
        except grpc.RpcError as error:
            self.assertNotEqual(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
            refused = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
            if caller == "none" and error.code() in refused:
                self.assertEqual(error.code(), grpc.StatusCode.UNAUTHENTICATED)
            return error.code() not in refused
        return True

    def test_commands_take_tokens_in_three_ways_and_logs_have_none(self):
        server = self.serve()
        admin = self.by_role["admin"]
        file = self.file("admin.token", admin + "\n")
        self.assertIn("UNAUTHENTICATED", server.cli("list", code=1))
        self.assertIn("UNAUTHENTICATED", server.cli("--token", "wrong", "list", code=1))
        server.cli("--token", admin, "create", "m")
        server.cli("--token-file", file, "list")
        environment = os.environ | {"LAZYNORM_TOKEN": admin}
        run = subprocess.run(server.command("delete", "m"), env=environment, capture_output=True, timeout=SOON,
                             check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        for role, code in (("predict", 1), ("train", 1), ("admin", 0)):
            server.cli("--token", self.by_role[role], "create", f"by-{role}", code=code)
        server.signal()
        server.wait()
        log = "".join(server.log)
        self.assertEqual(log.count("event=audit "), 5)
        for token in self.by_role.values():
            self.assertNotIn(token, log)
            self.assertNotIn(token.removeprefix("lazynorm_"), log)

    def test_tokens_come_and_go_while_it_serves(self):
        server = self.serve()
        late = new_token("late", file=self.tokens)
        eventually(lambda: subprocess.run(server.command("--token", late, "list"), capture_output=True, timeout=SOON,
                                          check=False).returncode == 0, "the new token is known")
        failed = 'lazynorm_reload_failed{what="tokens"}'
        self.assertEqual(server.series()[failed], 0)
        with open(self.tokens, encoding="utf-8") as file:
            lines = file.readlines()
        replace(self.file("tokens", "".join(lines) + "no token\n"), self.tokens)
        eventually(lambda: server.series()[failed] == 1, "the file is refused")
        server.cli("--token", late, "list")
        replace(self.file("tokens", lines[-1]), self.tokens)
        eventually(lambda: subprocess.run(server.command("--token", self.by_role["admin"], "list"), capture_output=True,
                                          timeout=SOON, check=False).returncode == 1, "the old token is not")
        self.assertEqual(server.series()[failed], 0)

    def test_a_token_in_plain_text_stays_on_this_machine(self):
        run = subprocess.run([LAZYNORM, "--server", "example.com:1", "--token", "t", "list"], capture_output=True,
                             text=True, timeout=SOON, check=False)
        self.assertEqual(run.returncode, 2)
        self.assertIn("expected TLS", run.stderr)

    def test_what_is_no_name_role_or_pattern_makes_no_token(self):
        for wrong in (["a b"], ["a", "--role", "root"], ["a", "--models", "A"], []):
            run = subprocess.run([LAZYNORM, "token", *wrong], capture_output=True, text=True, timeout=SOON, check=False)
            self.assertEqual(run.returncode, 2, wrong)
            self.assertEqual(run.stdout, "")

    def test_tools_see_nothing_where_reflection_is_off(self):
        path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        for flag, code in (("--reflection", grpc.StatusCode.OK), ("--reflection=false", grpc.StatusCode.UNIMPLEMENTED)):
            server = self.server(flag)
            with connected(grpc.insecure_channel(server.address)) as channel:
                call = channel.stream_stream(path)(iter([b""]), timeout=SOON)
                try:
                    list(call)
                except grpc.RpcError:
                    pass
                self.assertEqual(call.code(), code, flag)


if __name__ == "__main__":
    unittest.main()
