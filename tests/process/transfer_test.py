"""What the command exports, read by other programs, and imported again."""

import json
import os
import unittest

import numpy as np

from programs import ServerTest, table

try:
    import torch
except ImportError:
    torch = None


def read_safetensors(path):
    """The metadata and {name: array} of a file, with nothing but the standard library and numpy."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        data = file.read()
    metadata = header.pop("__metadata__", {})
    types = {"F32": "<f4", "I64": "<i8"}
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[begin:end], types[entry["dtype"]]).reshape(entry["shape"])
    return metadata, tensors


def forward(tensors, x):
    """BatchNorm, Linear, BatchNorm, ReLU, Linear, as they predict."""
    def norm(i, x):
        t = {key: tensors[f"{i}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")}
        return (x - t["running_mean"]) / np.sqrt(t["running_var"] + 1e-5) * t["weight"] + t["bias"]

    def linear(i, x):
        return x @ tensors[f"{i}.weight"].T + tensors[f"{i}.bias"]

    return linear(4, np.maximum(norm(2, linear(1, norm(0, x))), 0))


def forward_in_torch(tensors, x):
    network = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 8), torch.nn.BatchNorm1d(8),
                                  torch.nn.ReLU(), torch.nn.Linear(8, 1))
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in tensors.items()})
    with torch.no_grad():
        return network.double().eval()(torch.from_numpy(x)).numpy()


class TransferTest(ServerTest):
    def learned(self, server, name="m", *preset):
        preset = preset or ("--preset", "torch", "--hidden", "8", "--normalize-input")
        server.cli("train", name, "-", "--target", "y", "--create", "--batch", "8", *preset,
                   stdin=table(200))

    def predictions(self, server, name):
        said = server.cli("predict", name, "-", "--target", "y", "--output", "json",
                          stdin=table(20))
        return np.array([list(json.loads(row).values()) for row in said.splitlines()],
                        dtype=float).ravel()

    def export(self, server, name, file):
        path = os.path.join(self.folder(), file)
        self.assertIn(f"{path}: ", server.cli("export", name, path))
        return path

    def test_others_read_the_state_and_predict_the_same(self):
        server = self.server()
        self.learned(server)
        metadata, tensors = read_safetensors(self.export(server, "m", "m.safetensors"))
        self.assertEqual(metadata["format"], "pt")
        self.assertEqual(metadata["lazynorm_step"], "25")
        self.assertEqual(tensors["0.num_batches_tracked"], 25)
        x = np.array([[float(v) for v in row.split(",")[:2]] for row in table(20).split()[1:]])
        expected = self.predictions(server, "m")
        doubles = {name: array.astype(np.float64) for name, array in tensors.items()}
        np.testing.assert_allclose(forward(doubles, x).ravel(), expected, rtol=1e-5, atol=1e-5)
        if torch is not None:
            np.testing.assert_allclose(forward_in_torch(tensors, x).ravel(), expected, rtol=1e-5, atol=1e-5)

    def test_a_model_goes_from_one_server_to_another(self):
        first, folder = self.server(), self.folder()
        self.learned(first, "m", "--preset", "stream")
        path = self.export(first, "m", "m.safetensors")
        second = self.server(data_dir=folder)
        self.assertEqual(second.json("import", "moved", path)["model_id"], "moved")
        again = self.export(second, "moved", "again.safetensors")
        second.signal()
        self.assertEqual(second.wait(), 0)
        third = self.server(data_dir=folder)
        after = self.export(third, "moved", "after.safetensors")
        files = [read_safetensors(file)[1] for file in (path, again, after)]
        for tensors in files[1:]:
            self.assertEqual(tensors.keys(), files[0].keys())
            for name, array in tensors.items():
                self.assertEqual(array.tobytes(), files[0][name].tobytes(), name)
        np.testing.assert_allclose(self.predictions(third, "moved"), self.predictions(first, "m"),
                                   rtol=1e-4, atol=1e-4)

    def test_what_cannot_be_is_said(self):
        server = self.server()
        self.learned(server)
        path = os.path.join(self.folder(), "none", "m.onnx")
        self.assertIn("No such file", server.cli("export", "m", path, code=2))
        self.assertIn("cannot be read", server.cli("import", "x", path, code=2))
        server.cli("export", "nobody", os.path.join(self.folder(), "x"), code=4)
        server.cli("create", "lazy")
        kept = self.file("kept", "old")
        self.assertIn("lazy", server.cli("export", "lazy", kept, code=1))
        with open(kept, encoding="utf-8") as file:
            self.assertEqual(file.read(), "old")
        self.assertEqual(os.listdir(os.path.dirname(kept)), ["kept"])
        self.assertIn("safetensors", server.cli("import", "x", kept, code=1))

    def test_the_name_of_the_file_says_its_form(self):
        server = self.server()
        self.learned(server)
        for name, flags, onnx in (("m.onnx", (), True), ("m", (), False),
                                  ("m2", ("--format", "onnx"), True)):
            path = os.path.join(self.folder(), name)
            server.cli("export", "m", path, *flags)
            with open(path, "rb") as file:
                self.assertEqual(b"BatchNormalization" in file.read(), onnx)


if __name__ == "__main__":
    unittest.main()
