"""What the client makes of errors, and when it tries again."""

import asyncio
import unittest
from unittest import mock

import grpc
from lazynorm import (AsyncClient, Client, InvalidArgument, LazynormError, NotFound, ResourceExhausted,
                      Unavailable, details)
from lazynorm.retry import Backoff, is_retryable

from fake_server import packed, start

ROW = [[1.0, 2.0]]


class DetailsTest(unittest.TestCase):
    def read(self, value):
        return details.read([("other", "x"), ("grpc-status-details-bin", value)])

    def test_reason_field_and_time_are_read(self):
        found = self.read(packed("WIDTH_MISMATCH", "features", 1.5))
        self.assertEqual(found, ("WIDTH_MISMATCH", "features", 1.5))

    def test_no_details_are_no_error(self):
        self.assertEqual(details.read([]), ("", "", None))

    def test_bytes_that_are_no_status_are_no_error(self):
        self.assertEqual(self.read(b"\xff\xff\xff"), ("", "", None))

    def test_another_google_rpc_in_the_same_process_does_no_harm(self):
        from google.protobuf import descriptor_pb2, descriptor_pool  # pylint: disable=import-outside-toplevel
        other = descriptor_pb2.FileDescriptorProto(name="google/rpc/status.proto", package="google.rpc")
        other.message_type.add(name="Status").field.add(name="another", number=9, type=9, label=1)
        descriptor_pool.Default().Add(other)
        self.assertEqual(self.read(packed("STILL_READ")).reason, "STILL_READ")


class BackoffTest(unittest.TestCase):
    def setUp(self):
        self.now = 0.0
        self.backoff = Backoff(10.0, clock=lambda: self.now)
        self.away = Unavailable(grpc.StatusCode.UNAVAILABLE, "away")

    def test_pauses_double_up_to_five_seconds(self):
        pauses = [self.backoff.pause_after(self.away) for _ in range(8)]
        for pause, expected in zip(pauses, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]):
            self.assertAlmostEqual(pause, expected, delta=0.2 * expected + 1e-9)

    def test_the_server_may_ask_for_more(self):
        full = ResourceExhausted(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", retry_after=3.0)
        self.assertEqual(self.backoff.pause_after(full), 3.0)

    def test_nothing_is_tried_beyond_the_deadline(self):
        self.now = 9.95
        self.assertIsNone(self.backoff.pause_after(self.away))
        self.backoff.restart()
        self.assertIsNotNone(self.backoff.pause_after(self.away))

    def test_what_is_wrong_is_not_tried_again(self):
        self.assertFalse(is_retryable(LazynormError(grpc.StatusCode.INVALID_ARGUMENT, "")))
        self.assertFalse(is_retryable(LazynormError(grpc.StatusCode.RESOURCE_EXHAUSTED, "no time given")))


class CallsTest(unittest.TestCase):
    def setUp(self):
        self.fake, self.address = start(self)
        self.client = Client(self.address, timeout=60)
        self.addCleanup(self.client.close)

    def test_an_error_has_its_class_and_pythons_own(self):
        self.fake.failures = [(grpc.StatusCode.INVALID_ARGUMENT, packed("WIDTH_MISMATCH", "features"))]
        with self.assertRaises(InvalidArgument) as caught:
            self.client.train("m", ROW, [1])
        self.assertEqual((caught.exception.code, caught.exception.reason, caught.exception.field),
                         (grpc.StatusCode.INVALID_ARGUMENT, "WIDTH_MISMATCH", "features"))
        self.assertIsInstance(caught.exception, ValueError)
        self.assertEqual(str(caught.exception), "INVALID_ARGUMENT (WIDTH_MISMATCH): told to fail")
        self.fake.failures = [(grpc.StatusCode.NOT_FOUND, None)]
        with self.assertRaises(LookupError) as caught:
            self.client.train("m", ROW, [1])
        self.assertIsInstance(caught.exception, NotFound)

    def test_a_retry_has_the_same_request_id_and_another_call_another(self):
        self.fake.failures = [(grpc.StatusCode.UNAVAILABLE, packed("DRAINING", retry_after=0.1)),
                              (grpc.StatusCode.RESOURCE_EXHAUSTED, packed("QUEUE_FULL", retry_after=0.01))]
        self.assertEqual(self.client.train("m", ROW, [1]).step, 1)
        self.assertEqual(self.client.train("m", ROW, [1]).step, 2)
        ids = [request.request_id for request in self.fake.requests]
        self.assertEqual(len(ids), 4)
        self.assertEqual(len(set(ids[:3])), 1)
        self.assertEqual(len(set(ids)), 2)

    def test_a_server_that_is_not_there_is_unavailable_when_the_time_is_up(self):
        now = 0.0

        def sleep(seconds):
            nonlocal now
            now += seconds

        # A minute that takes no time. With pauses of no chance the last try has seconds left.
        with (mock.patch("lazynorm.client.Backoff", lambda timeout: Backoff(timeout, clock=lambda: now)),
              mock.patch("lazynorm.client.time.sleep", sleep),
              mock.patch("lazynorm.retry.random.uniform", return_value=1.0),
              Client("127.0.0.1:1", timeout=61) as nobody, self.assertRaises(Unavailable) as caught):
            nobody.train("m", ROW, [1])
        self.assertGreater(now, 50)
        self.assertEqual(caught.exception.reason, "")
        self.assertIsInstance(caught.exception, ConnectionError)

    def test_asyncio_tries_again_too(self):
        async def train():
            async with AsyncClient(self.address) as client:
                return await client.train("m", ROW, [1])

        self.fake.failures = [(grpc.StatusCode.UNAVAILABLE, packed("STARTING"))]
        self.assertEqual(asyncio.run(train()).step, 1)
        self.assertEqual(len(self.fake.requests), 2)


if __name__ == "__main__":
    unittest.main()
