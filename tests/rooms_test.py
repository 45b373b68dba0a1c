#!/usr/bin/env python3
"""Holds the #include lines to the arrows drawn in the CMakeLists.txt: a room may include itself and
the rooms that its own lazynorm_room line names. Exits with 1 and one line for each arrow that is not
drawn. Begins by checking itself: a wrong include that is planted must be caught."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROOM_LISTS = ["model", "server", "client"]
SOURCES = ["model", "server", "client"]
GENERATED = {"lazynorm", "google", "grpc", "inference", "onnx"}  # first folder of what protoc makes: the room proto

# Who may know a library, by how its headers begin; a room is named by its folder.
LIBRARIES = {
    "grpcpp/": {"server/rpc", "server", "client"},
    "prometheus/": {"server/metrics"},
    "Civet": {"server/metrics"},
    "civetweb": {"server/metrics"},
    "CLI/": {"client/cli"},
    "Eigen/": {"model"},
    "sqlite3.h": {"server/store"},
    "libpq-fe.h": {"server/store"},
    "xxhash.h": {"server/store"},
    "nlohmann/": {"server/convert", "server/formats"},
    "openssl/": {"server/rpc", "client/cli"},
    "spdlog/": {"server/hosting", "server/rpc", "server"},
}
# Numbers in, numbers out.
NOT_IN_MODEL = re.compile(
    r"fstream|iostream|thread|chrono|filesystem|mutex|shared_mutex|condition_variable|future|ctime|random"
    r"|c?stdio(\.h)?|time\.h|unistd\.h|absl/(time|synchronization)/.*|sys/.*|.*\.pb\.h")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
ROOM = re.compile(r"lazynorm_room\((\w+)\s+(\S+)([^)]*)\)")


def read_arrows():
    """{folder of a room: the folders it may include}, as CMake is told."""
    folder_of = {"lazynorm_proto": "proto"}
    links = {}
    for folder in ROOM_LISTS:
        text = re.sub(r"#.*", "", (ROOT / folder / "CMakeLists.txt").read_text())
        for name, room, arguments in ROOM.findall(text):
            folder_of[name] = room
            links[room] = arguments.split()
    arrows = {room: {folder_of[name] for name in names if name in folder_of} | {room}
              for room, names in links.items()}
    arrows["client/cli"] |= arrows["client"]  # one room in two folders: the library and its program
    return arrows


def room_of(path, arrows):
    """The room of an included path: the longest folder that is one; None for the outside world."""
    if path.endswith(".pb.h"):
        return "proto" if path.split("/")[0] in GENERATED else None
    folder = path.rpartition("/")[0]
    while folder and folder not in arrows:
        folder = folder.rpartition("/")[0]
    return folder or None


def library_fault(room, included):
    for prefix, rooms in LIBRARIES.items():
        if included.startswith(prefix) and room not in rooms:
            return f"{prefix} belongs to {', '.join(sorted(rooms))}"
    return None


def fault(source, included, arrows):
    """What is wrong with this include in this file; None if nothing is."""
    room = room_of(source, arrows)
    target = room_of(included, arrows)
    if room == "model" and NOT_IN_MODEL.fullmatch(included):
        return "model knows numbers only"
    if target is None:
        return library_fault(room, included)
    if target not in arrows[room]:
        return f"no arrow {room} -> {target}"
    return None


def check_myself(arrows):
    planted = [("model/plan.cc", "lazynorm/v1/spec.pb.h"), ("model/plan.cc", "server/base/clock.h"),
               ("model/learner.cc", "fstream"), ("model/kernels/level.cc", "thread"),
               ("model/spec.h", "chrono"), ("model/spec.h", "filesystem"), ("model/spec.h", "mutex"),
               ("server/hosting/trainer.cc", "server/rpc/status.h"),
               ("server/hosting/trainer.cc", "server/rpc/transport.h"),
               ("server/store/record.cc", "model/learner.h"),
               ("server/store/record.cc", "server/hosting/registry.h"),
               ("server/hosting/trainer.cc", "lazynorm/v1/spec.pb.h"),
               ("server/convert/api.cc", "server/hosting/registry.h"),
               ("server/convert/api.cc", "grpcpp/grpcpp.h"),
               ("server/base/executor.h", "model/matrix.h"),
               ("server/metrics/http.cc", "server/server.h"),
               ("server/formats/onnx.cc", "server/convert/spec.h"),
               ("server/convert/spec.cc", "server/formats/onnx.h"),
               ("server/rpc/status.cc", "server/server.h"),
               ("server/hosting/registry.cc", "prometheus/counter.h"),
               ("server/store/catalog.cc", "model/errors.h"),
               ("server/store/catalog.cc", "server/hosting/registry.h"),
               ("server/hosting/registry.cc", "sqlite3.h"), ("server/hosting/registry.cc", "libpq-fe.h"), ("server/rpc/status.cc", "xxhash.h"),
               ("server/rpc/inference_rest.cc", "nlohmann/json.hpp"),
               ("client/client.cc", "server/options.h"), ("client/client.cc", "model/spec.h"),
               ("client/client.cc", "client/cli/csv.h")]
    sound = [("model/plan.cc", "Eigen/Core"), ("model/kernels/level.cc", "model/kernels.h"),
             ("server/rpc/status.cc", "google/rpc/status.pb.h"), ("server/server.cc", "server/rpc/health.h"),
             ("server/hosting/trainer.cc", "chrono"), ("client/cli/train.cc", "client/client.h")]
    return [f"self-check: {s} may not include {i}, and that was not caught"
            for s, i in planted if fault(s, i, arrows) is None] + [
                f"self-check: {s} may include {i}, and that was refused"
                for s, i in sound if fault(s, i, arrows) is not None]


def check_sources(arrows):
    faults, seen = [], 0
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in (".h", ".cc", ".inc"):
                continue
            source = path.relative_to(ROOT).as_posix()
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = INCLUDE.match(line)
                if match is None:
                    continue
                seen += 1
                wrong = fault(source, match.group(2), arrows)
                if wrong:
                    faults.append(f"{source}:{number}: {match.group(2)}: {wrong}")
    return faults, seen


def main():
    arrows = read_arrows()
    faults, seen = check_sources(arrows)
    faults += check_myself(arrows)
    if seen < 100 or len(arrows) < 8:
        faults.append(f"only {seen} includes in {len(arrows)} rooms were found: is this the right tree?")
    for line in faults:
        print(line)
    if not faults:
        print(f"{seen} includes in {len(arrows)} rooms follow the arrows")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
