"""Pipelined streams: order, breaks, and sources that wait or fail."""

import asyncio
import queue
import threading
import unittest

from lazynorm import AsyncClient, Batch, Client, Unavailable

from fake_server import start


def batches(count):
    return [Batch([[float(n), 0.0]], [n]) for n in range(count)]


class StreamTest(unittest.TestCase):
    def setUp(self):
        self.fake, self.address = start(self)
        self.client = Client(self.address, timeout=60)
        self.addCleanup(self.client.close)

    def features(self):
        """The first feature of each request that was new, in the order of arrival."""
        seen = {}
        for request in self.fake.requests:
            seen.setdefault(request.request_id, request.features.values[0])
        return list(seen.values())

    def test_answers_come_in_order_with_any_window(self):
        for window in (1, 3, 100):
            first = len(self.features())
            steps = [step.step for step in self.client.train_stream("m", batches(50), window=window)]
            self.assertEqual(steps, list(range(first + 1, first + 51)))

    def test_what_was_unanswered_when_the_stream_broke_is_sent_again_and_trained_once(self):
        self.fake.breaks = [7, 0, 20]
        steps = list(self.client.train_stream("m", batches(60), window=8))
        self.assertEqual([step.step for step in steps], list(range(1, 61)))
        self.assertEqual(self.features(), [float(n) for n in range(60)])
        self.assertTrue(any(step.replayed for step in steps))

    def test_an_answer_does_not_wait_for_the_next_batch(self):
        feed = queue.Queue()
        answers = self.client.train_stream("m", iter(feed.get, None))
        for n, batch in enumerate(batches(3)):
            feed.put(batch)
            self.assertEqual(next(answers).step, n + 1)
        feed.put(None)
        self.assertEqual(list(answers), [])

    def test_a_source_that_waits_while_the_stream_breaks_loses_nothing(self):
        feed = queue.Queue()
        self.fake.breaks = [1]
        answers = self.client.train_stream("m", iter(feed.get, None))
        for batch in batches(2):
            feed.put(batch)
        self.assertEqual(next(answers).step, 1)  # the second answer is lost, the source waits
        later = threading.Timer(0.5, lambda: [feed.put(batch) for batch in [*batches(2), None]])
        later.start()
        self.addCleanup(later.join)
        self.assertEqual([step.step for step in answers], [2, 3, 4])

    def test_what_the_source_raises_comes_out_after_the_answers(self):
        def failing():
            yield from batches(2)
            raise KeyError("source")

        answers = self.client.train_stream("m", failing())
        self.assertEqual([next(answers).step, next(answers).step], [1, 2])
        with self.assertRaises(KeyError):
            next(answers)

    def test_a_server_that_stays_away_is_an_error(self):
        with Client("127.0.0.1:1", timeout=0.3) as nobody, self.assertRaises(Unavailable):
            list(nobody.train_stream("m", batches(1)))

    def test_a_window_of_nothing_is_refused(self):
        with self.assertRaisesRegex(ValueError, "window: expected at least 1, got 0"):
            self.client.train_stream("m", [], window=0)


class AsyncStreamTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.fake, self.address = start(self)
        self.client = AsyncClient(self.address, timeout=60)
        self.addAsyncCleanup(self.client.close)

    async def steps(self, source, **settings):
        return [step.step async for step in self.client.train_stream("m", source, **settings)]

    async def test_both_kinds_of_sources_survive_breaks(self):
        async def slowly():
            for batch in batches(30):
                await asyncio.sleep(0)
                yield batch

        self.fake.breaks = [7, 0, 11]
        self.assertEqual(await self.steps(slowly(), window=4), list(range(1, 31)))
        self.assertEqual(await self.steps(batches(5)), list(range(31, 36)))

    async def test_an_answer_does_not_wait_for_the_next_batch(self):
        feed = asyncio.Queue()

        async def source():
            while (batch := await feed.get()) is not None:
                yield batch

        answers = self.client.train_stream("m", source())
        for n, batch in enumerate(batches(3)):
            await feed.put(batch)
            self.assertEqual((await anext(answers)).step, n + 1)
        await feed.put(None)
        self.assertEqual([answer async for answer in answers], [])

    async def test_what_the_source_raises_comes_out_after_the_answers(self):
        async def failing():
            for batch in batches(2):
                yield batch
            raise KeyError("source")

        answers = self.client.train_stream("m", failing())
        self.assertEqual([(await anext(answers)).step, (await anext(answers)).step], [1, 2])
        with self.assertRaises(KeyError):
            await anext(answers)


if __name__ == "__main__":
    unittest.main()
