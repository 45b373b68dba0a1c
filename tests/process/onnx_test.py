"""What the command exports as ONNX, in the eyes of ONNX's own checker (Debian's python3-onnx)."""

import os
import unittest

import onnx

from programs import ServerTest

ACTIVATIONS = "RELU LEAKY_RELU ELU SELU GELU SILU TANH SIGMOID SOFTPLUS IDENTITY".split()
NETWORK = """
layers { batch_norm { training_statistics: TRAINING_STATISTICS_RUNNING } }
layers { linear { out_features: 4 bias: false } }
layers { batch_norm { affine: false } }
layers { activation { kind: ACTIVATION_KIND_%s } }
layers { dropout { p: 0.5 } }
layers { linear { out_features: 3 } }
in_features: 2
"""
LOSSES = {
    "MSE": "learning { normalize_targets: true }",
    "BCE_WITH_LOGITS": "learning { experts {} experts { learning_rate: 0.1 } }",
    "CROSS_ENTROPY": "learning { experts {} experts {} experts {} }",
}


class OnnxTest(ServerTest):
    def export(self, name, spec):
        self.s.cli("create", name, "--spec", self.file(f"{name}.textproto", spec))
        path = os.path.join(self.folder(), f"{name}.onnx")
        self.s.cli("export", name, path)
        return onnx.load(path)

    def test_every_model_passes_the_full_check(self):
        self.s = self.server()
        specs = {f"a{i}": NETWORK % kind for i, kind in enumerate(ACTIVATIONS)}
        for i, (kind, learning) in enumerate(LOSSES.items()):
            specs[f"l{i}"] = f"{NETWORK % 'RELU'} loss {{ kind: LOSS_KIND_{kind} }} {learning}"
        for name, spec in specs.items():
            with self.subTest(spec):
                model = self.export(name, spec)
                onnx.checker.check_model(model, full_check=True)
                self.assertEqual([(o.domain, o.version) for o in model.opset_import], [("", 17)])
                self.assertEqual(model.ir_version, 8)

    def test_the_checker_finds_what_is_wrong(self):
        self.s = self.server()
        model = self.export("m", NETWORK % "RELU")
        model.graph.initializer[0].dims[0] += 1
        with self.assertRaises(Exception):
            onnx.checker.check_model(model, full_check=True)


if __name__ == "__main__":
    unittest.main()
