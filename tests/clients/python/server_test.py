"""The package against the real server: arrays, life cycle, streams, asyncio, specs and estimators."""

import asyncio
import pathlib
import sys
import unittest

import numpy as np
from lazynorm import (AlreadyExists, AsyncClient, Batch, Client, LazyClassifier, LazyRegressor, Learning,
                      ModelSpec, NotFound, OutOfRange, stream_spec)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "process"))

from programs import Server  # pylint: disable=wrong-import-position

SPEC = ModelSpec(mlp={"hidden": [8]}, optimizer={"adam": {"lr": 0.02}}, seed=3)


def rows(count, seed=1):
    x = np.random.default_rng(seed).normal(size=(count, 3))
    return x, x @ [1.0, -2.0, 0.5] + 3


class WithServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)
        cls.client = Client(cls.server.address)
        cls.addClassCleanup(cls.client.close)


class ClientTest(WithServer):
    def test_a_model_lives_and_goes(self):
        self.client.create_model("life", SPEC)
        with self.assertRaises(AlreadyExists):
            self.client.create_model("life", SPEC)
        self.assertIn("life", [model.model_id for model in self.client.list_models()])
        self.client.train("life", *rows(16))
        kept = self.client.create_checkpoint("life", "before")
        self.client.train("life", *rows(16, 2))
        self.assertEqual(self.client.copy_model("life", "other-life").step, 2)
        self.assertEqual([one.label for one in self.client.list_checkpoints("life")], ["before"])
        self.assertEqual(self.client.restore_checkpoint("life", kept.checkpoint_id).step, 1)
        with self.assertRaises(OutOfRange):
            self.client.restore_checkpoint("life", step=77)
        self.client.delete_checkpoint("life", kept.checkpoint_id)
        changed = self.client.update_model("life", learning=Learning(clip_grad_norm=2), learning_rate=0.5)
        self.assertEqual((changed.spec.learning.clip_grad_norm, changed.spec.optimizer.adam.lr), (2, 0.5))
        self.assertEqual(next(self.client.watch_model("life")).step, 1)
        self.assertEqual(self.client.health("models/life"), "SERVING")
        self.client.delete_model("life")
        with self.assertRaises(NotFound):
            self.client.health("models/life")

    def test_a_state_dict_makes_the_same_model_again(self):
        self.client.create_model("source", SPEC)
        x, y = rows(32)
        self.client.train("source", x, y)
        state = self.client.get_state("source")
        self.assertEqual(state.tensors["0.weight"].shape, (8, 3))
        self.assertEqual(state.tensors["1.num_batches_tracked"].dtype, np.int64)
        self.client.create_model("target", SPEC, state=state.tensors)
        np.testing.assert_allclose(  # a state is rounded to float32
            self.client.predict("source", x).values, self.client.predict("target", x).values, rtol=1e-5)

    def test_arrays_of_any_kind_are_taken_and_wrong_ones_named(self):
        self.client.create_model("arrays", SPEC)
        x, y = rows(300)  # more than 128 bytes of values, and more than 16384 with the next
        expected = self.client.predict("arrays", x).values
        for same in (x.tolist(), np.asfortranarray(x), x[::-1][::-1], x.astype(">f8")):
            np.testing.assert_array_equal(self.client.predict("arrays", same).values, expected)
        self.assertEqual(self.client.predict("arrays", np.tile(x, (100, 1))).values.shape, (30000, 1))
        with self.assertRaisesRegex(ValueError, "features: expected 2 dimensions .* got shape .3,"):
            self.client.predict("arrays", x[0])
        with self.assertRaisesRegex(ValueError, "labels: expected whole numbers"):
            self.client.train("arrays", x, labels=y)

    def test_streams_train_predict_and_evaluate(self):
        self.client.create_model("streams", SPEC)
        x, y = rows(320)
        batches = [Batch(*pair) for pair in zip(np.split(x, 20), np.split(y, 20))]
        steps = list(self.client.train_stream("streams", batches, window=4))
        self.assertEqual([step.step for step in steps], list(range(1, 21)))
        whole = self.client.predict("streams", x).values
        parts = [answer.values for answer in self.client.predict_stream("streams", np.split(x, 20))]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        evaluation = self.client.evaluate_stream("streams", batches)
        self.assertEqual(evaluation.rows, 320)
        self.assertAlmostEqual(evaluation.loss, self.client.evaluate("streams", x, y).loss, places=6)
        self.assertIsNone(evaluation.accuracy)

    def test_labels_may_come_later(self):
        self.client.create_model("later", SPEC)
        x, y = rows(4)
        self.client.predict("later", x, prediction_ids=["a", "b", "c", "d"])
        self.assertEqual(self.client.train("later", targets=y, prediction_ids=["a", "b", "c", "d"]).step, 1)

    def test_asyncio_answers_what_the_other_client_answers(self):
        async def together():
            async with AsyncClient(self.server.address) as client:
                await client.create_model("async", SPEC)
                x, y = rows(64)
                batches = [Batch(*pair) for pair in zip(np.split(x, 4), np.split(y, 4))]
                steps = [step.step async for step in client.train_stream("async", batches)]
                answers = await asyncio.gather(*(client.predict("async", x) for _ in range(20)))
                parts = [part.values async for part in client.predict_stream("async", np.split(x, 4))]
                scores = await client.evaluate("async", x, y), await client.evaluate_stream("async", batches)
                ids = [model.model_id for model in await client.list_models()]
                async for status in client.watch_model("async"):
                    return steps, answers, parts, scores, ids, status

        steps, answers, parts, scores, ids, status = asyncio.run(together())
        self.assertEqual(steps, [1, 2, 3, 4])
        x, y = rows(64)
        expected = self.client.predict("async", x).values
        for values in [*(answer.values for answer in answers), np.concatenate(parts)]:
            np.testing.assert_array_equal(values, expected)
        self.assertEqual(scores[0], self.client.evaluate("async", x, y))
        self.assertAlmostEqual(scores[1].loss, scores[0].loss, places=6)
        self.assertIn("async", ids)
        self.assertEqual(status.step, 4)


class SpecsTest(WithServer):
    def test_the_stream_spec_is_the_command_lines_preset(self):
        for name, flags, spec in (
                ("number", [], stream_spec()),
                ("wide", ["--hidden", "7", "--lr", "0.1", "--outputs", "2"], stream_spec([7], 2, lr=0.1)),
                ("class", ["--loss", "cross_entropy", "--outputs", "3"],
                 stream_spec(out_features=3, loss="LOSS_KIND_CROSS_ENTROPY"))):
            self.server.cli("create", f"cli-{name}", *flags)
            expected = self.client.get_model(f"cli-{name}").spec
            expected.seed = 0
            self.assertEqual(self.client.create_model(f"python-{name}", spec).spec.learning, expected.learning)
            made = self.client.get_model(f"python-{name}").spec
            if not expected.HasField("loss"):
                made.ClearField("loss")
            self.assertEqual(made, expected)


class EstimatorsTest(WithServer):
    def test_a_regressor_learns_row_by_row(self):
        regressor = LazyRegressor("regressor", client=self.client)
        x, y = rows(400)
        for n in range(300):
            self.assertIs(regressor.partial_fit(x[n:n + 1], y[n:n + 1]), regressor)
        self.assertEqual(regressor.predict(x[300:]).shape, (100,))
        self.assertGreater(regressor.score(x[300:], y[300:]), 0.9)

    def test_a_regressor_may_have_several_columns(self):
        regressor = LazyRegressor("columns", client=self.client, hidden=(4,))
        x, y = rows(32)
        regressor.partial_fit(x, np.stack([y, -y], axis=1), sample_weight=np.ones(32))
        self.assertEqual(regressor.predict(x).shape, (32, 2))

    def test_a_classifier_knows_its_classes(self):
        classifier = LazyClassifier("classifier", client=self.client)
        x, _ = rows(600)
        y = np.array(["low", "mid", "high"])[np.digitize(x[:, 0], [-0.5, 0.5])]
        for first in range(0, 500, 10):
            classifier.partial_fit(x[first:first + 10], y[first:first + 10], classes=["low", "mid", "high"])
        self.assertEqual(classifier.classes_.tolist(), ["high", "low", "mid"])
        probabilities = classifier.predict_proba(x[500:])
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        predicted = classifier.predict(x[500:])
        self.assertAlmostEqual(classifier.score(x[500:], y[500:]), np.mean(predicted == y[500:]), places=6)
        self.assertGreater(classifier.score(x[500:], y[500:]), 0.8)
        self.assertEqual(list(self.client.get_model("classifier").spec.class_names), ["high", "low", "mid"])
        with self.assertRaisesRegex(ValueError, "y: expected one of .* got 'none'"):
            classifier.partial_fit(x[:1], ["none"])

    def test_without_classes_a_classifier_asks_for_them(self):
        with self.assertRaisesRegex(ValueError, "classes: expected"):
            LazyClassifier("unknown", client=self.client).partial_fit(*rows(2))

    def test_an_estimator_goes_on_with_a_model_that_is_there(self):
        x, y = rows(8)
        for _ in range(2):
            LazyRegressor("shared", client=self.client).partial_fit(x, y)
        self.assertEqual(self.client.get_model("shared").step, 2)

    def test_parameters_are_those_of_the_constructor(self):
        regressor = LazyRegressor("parameters", client=self.client, hidden=(4,))
        self.assertEqual(regressor.get_params()["hidden"], (4,))
        again = LazyRegressor(**regressor.set_params(hidden=(5,)).get_params())
        self.assertEqual((again.model, again.hidden), ("parameters", (5,)))
        with self.assertRaisesRegex(ValueError, "depth: expected one of model, client"):
            regressor.set_params(depth=1)


if __name__ == "__main__":
    unittest.main()
