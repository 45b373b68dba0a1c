"""What is no request at all on lazynormd's sockets: frames that lie, messages that end early, bytes that mean
nothing. It must cost the server neither its service nor its memory nor its file descriptors."""

import os
import random
import socket
import struct
import unittest

from programs import SOON, ServerTest, eventually

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags, stream, payload=b"", length=None):
    """One HTTP/2 frame; `length` is what it says of itself, the truth if it is None."""
    length = len(payload) if length is None else length
    return struct.pack(">I", length)[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def hpack(headers):
    """Literals that are not indexed, without Huffman's code."""
    def text(value):
        assert len(value) < 127
        return bytes((len(value),)) + value

    return b"".join(b"\0" + text(name) + text(value) for name, value in headers)


def call(stream=1, path=b"/lazynorm.v1.PredictionService/Predict", method=b"POST", more=(), flags=END_HEADERS):
    """The headers of a gRPC call."""
    headers = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"a"),
               (b"te", b"trailers"), (b"content-type", b"application/grpc"), *more]
    return frame(HEADERS, flags, stream, hpack(headers))


def message(body, compressed=0, length=None):
    return struct.pack(">BI", compressed, len(body) if length is None else length) + body


OPEN = PREFACE + frame(SETTINGS, 0, 0)


def grpc_garbage(chance):
    """What is sent on one connection each to the port of gRPC."""
    yield from (chance.randbytes(2 ** i) for i in range(18))
    yield from (PREFACE[:i] for i in range(0, len(PREFACE), 3))
    yield PREFACE.replace(b"2.0", b"3.0")
    yield b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(300)  # TLS begins like this
    yield from (PREFACE + chance.randbytes(2000) for _ in range(10))
    # Frames of every kind, with payloads of any kind, on streams of any kind.
    for kind in (*range(12), 255):
        for stream in (0, 1, 2, 2 ** 31 - 1):
            yield OPEN + frame(kind, chance.randrange(256), stream, chance.randbytes(chance.randrange(64)))
        yield OPEN + frame(kind, 0, 1, b"", length=2 ** 24 - 1)
        yield OPEN + frame(kind, 0, 1, b"\0" * 4, length=5)
    for size in (2 ** 14 + 1, 2 ** 20):
        yield OPEN + frame(DATA, 0, 1, bytes(size))
    yield from (OPEN + frame(SETTINGS, 0, 0, struct.pack(">HI", name, 2 ** 32 - 1)) for name in range(8))
    yield OPEN + frame(SETTINGS, 0, 0, b"\0" * 5) + frame(SETTINGS, 1, 0, b"\0" * 6)
    yield OPEN + 1000 * frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 1))
    yield OPEN + 1000 * frame(PING, 0, 0, b"garbage!")
    yield OPEN + 1000 * frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2 ** 31 - 1))
    # Header blocks: lies about lengths, an index that is not there, no end.
    for block in (b"\xff" * 20, b"\x7f\xff\xff\xff\xff\x0f", b"\x00\x7f\xff\xff\xff\x7f", b"\xbf\xff\xff", b"\x80"):
        yield OPEN + frame(HEADERS, END_HEADERS, 1, block)
    yield OPEN + call(flags=0) + 1000 * frame(CONTINUATION, 0, 1, hpack([(b"a", b"b" * 100)]))
    yield OPEN + call(flags=0) + call(stream=3)
    yield OPEN + call(more=[(b"a", b"b" * 100)] * 1000)
    # Calls that are none.
    for arguments in ({"path": b""}, {"path": b"/"}, {"path": b"\xff" * 100}, {"method": b"GET"}, {"stream": 0},
                      {"stream": 2}, {"more": [(b"grpc-timeout", b"-1S")]}, {"more": [(b"grpc-timeout", b"9" * 50)]},
                      {"more": [(b"grpc-encoding", b"none")]}, {"more": [(b"X\n\0", b"\r\n\0")]},
                      {"more": [(b":path", b"/")]}, {"more": [(b"grpc-tags-bin", b"%%%")]}):
        yield OPEN + call(**arguments) + frame(DATA, END_STREAM, 1, message(b""))
    for body in (message(b"", length=2 ** 32 - 1), message(b"abc", length=100), message(b"abc", compressed=1),
                 message(b"abc", compressed=255), b"\0", b"\0\0\0", message(chance.randbytes(500)),
                 message(b"\x0a\xff\xff\xff\xff\x0f"), message(b"\x0b" * 10000), 1000 * message(b"")):
        yield OPEN + call() + frame(DATA, END_STREAM, 1, body)
        yield OPEN + call() + frame(DATA, 0, 1, body)
        yield OPEN + call(path=b"/lazynorm.v1.TrainingService/TrainStream") + frame(DATA, END_STREAM, 1, body)
    # Streams that are opened and broken off as fast as can be.
    yield OPEN + b"".join(call(i) + frame(RST_STREAM, 0, i, struct.pack(">I", 8)) for i in range(1, 2001, 2))
    yield OPEN + b"".join(call(i) for i in range(1, 2001, 2))
    yield OPEN + frame(GOAWAY, 0, 0, bytes(8)) + call() + frame(DATA, END_STREAM, 1, message(b""))


def http_garbage(chance):
    """The same for the port of metrics and REST."""
    yield from (chance.randbytes(2 ** i) for i in range(18))
    yield from (b"GET", b"GET /", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r\n", b"GET /metrics HTTP/9.9\r\n\r\n", PREFACE)
    yield b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"
    yield b"GET / HTTP/1.1\r\n" + 1000 * b"a: b\r\n" + b"\r\n"
    yield b"GET / HTTP/1.1\r\na: " + b"b" * 100_000 + b"\r\n\r\n"
    for path in (b"/../../etc/passwd", b"/%00", b"/%", b"//////", b"/v2/%2e%2e/", b"/v2/models/m/infer/..", b"\0"):
        yield b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    for method in (b"PUT", b"DELETE", b"CONNECT", b"TRACE", b"\xff", b"A" * 1000):
        yield method + b" /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
    infer = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    for length in (b"-1", b"0", b"1", b"99999999999999999999", b"9223372036854775807", b"67108865", b"x", b"1\r\nContent-Length: 2"):
        yield infer + b"Content-Length: " + length + b"\r\n\r\n{}"
    for chunks in (b"ffffffffffffffff\r\n", b"-1\r\n", b"x\r\n", b"5\r\n{}", b"2\r\n{}\r\n0\r\n\r\n", 1000 * b"1\r\n{\r\n"):
        yield infer + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    for body in (b"", b"{", b"[" * 100_000, b'{"a":' * 100_000, b'"' + b"\\u0000" * 1000, b"\xff" * 1000, b"1e999999",
                 b'{"inputs":[{"name":"features","shape":[1,9223372036854775807],"datatype":"FP32","data":[1]}]}'):
        yield infer + b"Content-Length: %d\r\n\r\n" % len(body) + body


def exchange(port, garbage, half_close):
    """Sends it and reads what comes, until the server ends the connection or has no more to say."""
    with socket.create_connection(("127.0.0.1", port), timeout=SOON) as connection:
        try:
            connection.sendall(garbage)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            connection.settimeout(0.05)
            while connection.recv(1 << 16):
                pass
        except OSError:  # it has broken the connection, or is silent
            pass


class GarbageTest(ServerTest):
    def setUp(self):
        self.s = self.server()
        self.s.cli("create", "m", "--in-features", "2", "--hidden", "4")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.s.process.pid}/fd"))

    def memory(self):
        """What is resident, in bytes."""
        with open(f"/proc/{self.s.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def assert_serves(self):
        self.s.cli("health")
        self.assertEqual(len(self.s.cli("predict", "m", "-", "--output", "csv", stdin="a,b\n1,2\n").split()), 2)
        self.assertEqual(self.s.get("/readyz")[0], 200)
        self.assertEqual(self.s.get("/v2/models/m/ready")[0], 200)

    def withstands(self, port, garbage):
        self.assert_serves()  # once before: threads and buffers are there
        descriptors, memory = self.descriptors(), self.memory()
        for i, each in enumerate(garbage):
            exchange(int(port), each, half_close=i % 2 == 1)
        self.assert_serves()
        eventually(lambda: self.descriptors() <= descriptors + 2, "connections are let go")
        self.assertLess(self.memory() - memory, 64 << 20)

    def test_on_the_port_of_grpc(self):
        self.withstands(self.s.ports[0], grpc_garbage(random.Random(1)))

        def refused():
            return sum(value for name, value in self.s.series().items()
                       if name.startswith("grpc_server_handled_total") and 'grpc_code="OK"' not in name)

        eventually(lambda: refused() > 3, "some of it is taken for calls")

    def test_on_the_port_of_metrics_and_rest(self):
        self.withstands(self.s.metrics_port, http_garbage(random.Random(2)))

    def test_while_connections_that_say_nothing_more_are_open(self):
        descriptors = self.descriptors()
        for port, begin in ((self.s.ports[0], OPEN + call()), (self.s.ports[0], b""), (self.s.metrics_port, b"")):
            for _ in range(50 if port == self.s.ports[0] else 1):
                connection = socket.create_connection(("127.0.0.1", int(port)), timeout=SOON)
                self.addCleanup(connection.close)
                connection.sendall(begin)
        eventually(lambda: self.descriptors() > descriptors + 50, "they are open")
        self.assert_serves()


if __name__ == "__main__":
    unittest.main()
