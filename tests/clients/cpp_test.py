"""The command line, which is C++, learns the rows of client/README.md to the figures of all the others."""

import pathlib
import re
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "process"))

from programs import BIN, ServerTest  # pylint: disable=wrong-import-position

FIGURES = pathlib.Path(BIN).parent / "clients" / "figures.txt"


def table(first, count):
    lines = ["a,b,c,y"]
    for n in range(first, first + count):
        a, b, c = (n * 7 % 11 - 5) / 4, (n * 5 % 13 - 6) / 4, (n * 3 % 17 - 8) / 4
        lines.append(f"{a},{b},{c},{a - 2 * b + a * c}")
    return "\n".join(lines) + "\n"


class CppTest(ServerTest):
    def test_the_evaluation_is_everybodys(self):
        server = self.server()
        server.cli("create", "cpp", "--preset", "torch", "--hidden", "16", "--lr", "0.01", "--seed", "7")
        server.cli("train", "cpp", "-", "--target", "y", "--batch", "16", stdin=table(0, 800))
        scores = server.json("evaluate", "cpp", "-", "--target", "y", stdin=table(800, 100))
        figures = FIGURES.read_text(encoding="utf-8")
        expected = re.search(r"^evaluate rows=100 loss=(\S+) r2=(\S+)$", figures, re.MULTILINE).groups()
        self.assertEqual((f"{scores['loss']:.6f}", f"{scores['r2']:.6f}"), expected)


if __name__ == "__main__":
    unittest.main()
