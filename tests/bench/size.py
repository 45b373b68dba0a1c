#!/usr/bin/env python3
"""Measures what the handbook says about size: memory of a model, processor time of a call.

    tests/bench/size.py build/bin     (a server of its own, on loopback, about a minute)

Prints the handbook's table. Memory: of many models of a shape, each created, resolved and taught once,
divided by their number. Time: of the server's processor, not of the clock."""

import os
import pathlib
import sys
import tempfile

SHAPES = [("8-32-16-1", 8, "32,16", 200), ("100-256-64-1", 100, "256,64", 50),
          ("1000-1024-256-10", 1000, "1024,256", 5)]


def table(columns, rows):
    lines = [",".join([f"x{i}" for i in range(columns)] + ["y"])]
    lines += [",".join(str((i * 7 + j * 5) % 13 - 6) for j in range(columns + 1)) for i in range(rows)]
    return "\n".join(lines) + "\n"


def measure(programs, preset, columns, hidden, models, file):
    server = programs.Server(data_dir=tempfile.mkdtemp(dir=file.parent))
    try:
        file.write_text(table(columns, 64))
        one = ("--target", "y", "--batch", "32")
        create = ["--create", "--preset", preset, "--hidden", hidden]
        if preset != "stream":  # which does so by itself
            create.append("--normalize-input")
        before = server.series()["process_resident_memory_bytes"]
        for k in range(models):
            server.cli("train", f"m{k}", str(file), *one, *create)
        memory = (server.series()["process_resident_memory_bytes"] - before) / models

        def processor(calls, *arguments):
            start = server.series()["process_cpu_seconds_total"]
            server.cli(*arguments)
            return (server.series()["process_cpu_seconds_total"] - start) / calls

        file.write_text(table(columns, 32 * 200))
        train = processor(200, "train", "m0", str(file), *one)
        many = processor(200, "predict", "m0", str(file), "--target", "y", "--batch", "32")
        file.write_text(table(columns, 2000))
        few = processor(2000, "predict", "m0", str(file), "--target", "y", "--batch", "1")
        return memory, train, many, few
    finally:
        server.stop()


def main(binaries):
    os.environ["LAZYNORM_BIN"] = binaries
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "process"))
    import programs  # it wants the environment above
    print("| model | preset | memory | Train, 32 rows | Predict, 32 rows | Predict, 1 row |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for shape, columns, hidden, models in SHAPES:
            for preset in ("torch", "stream"):
                rows = pathlib.Path(folder) / "rows.csv"
                memory, train, many, few = measure(programs, preset, columns, hidden, models, rows)
                print(f"| {shape} | {preset} | {memory / 2**20:.2f} MiB | {train * 1e3:.2f} ms "
                      f"| {many * 1e6:.0f} µs | {few * 1e6:.0f} µs |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
