"""Compiles the server's .proto files into the package while it is built; what it is called and what it
needs is in pyproject.toml."""

import pathlib
import shutil
import subprocess

from setuptools import setup
from setuptools.command.build_py import build_py

PROTO = pathlib.Path(__file__).resolve().parent.parent.parent / "proto"
# Only read, never offered: others' packages bring Python modules of these names.
DETAILS = ["google/rpc/status.proto", "google/rpc/error_details.proto", "grpc/health/v1/health.proto"]


class BuildWithStubs(build_py):
    """Writes lazynorm/v1/*_pb2*.py and lazynorm/details.binpb beside the sources."""

    def run(self):
        super().run()
        out = pathlib.Path(self.build_lib).resolve()
        api = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("lazynorm/v1/*.proto"))
        self._protoc(f"--python_out={out}", f"--pyi_out={out}", *api)
        self._protoc(f"--grpc_out={out}", f"--plugin=protoc-gen-grpc={self._program('grpc_python_plugin')}",
                     *[name for name in api if name.endswith("_service.proto")])
        self._protoc("--include_imports", f"--descriptor_set_out={out}/lazynorm/details.binpb", *DETAILS)

    def _protoc(self, *arguments):
        subprocess.run([self._program("protoc"), f"-I{PROTO}", *arguments], check=True)

    @staticmethod
    def _program(name):
        path = shutil.which(name)
        if path is None:
            raise SystemExit(f"{name} is missing: apt-get install protobuf-compiler protobuf-compiler-grpc")
        return path


setup(cmdclass={"build_py": BuildWithStubs})
