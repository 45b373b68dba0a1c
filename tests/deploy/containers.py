"""Images and containers without a daemon: buildah builds, podman with runc runs, in a store of our own
below the build directory. Nothing is pulled."""

import json
import os
import pathlib
import subprocess

from facts import BUILD, ROOT

STORE = BUILD / "images"
IMAGE = "localhost/lazynorm:test"
HERE = pathlib.Path(__file__).resolve().parent
# runc wants limits that its parent has, and there is no systemd to ask for a cgroup.
ENGINE = """[containers]
default_ulimits = ["nofile=8192:8192", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
# As test.sh sets it outside: the same file in another folder is the same.
COMPILED_ANYWHERE = "cache_dir = /ccache\nbase_dir = /src\nhash_dir = false\nsloppiness = locale\n"


def _run(command, timeout, check=True, **options):
    run = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **options)
    if check and run.returncode != 0:
        said = (run.stdout + run.stderr)[-5000:]
        raise AssertionError(f"{' '.join(map(str, command))}: exit {run.returncode}\n{said}")
    return run


def _environment():
    (STORE / "tmp").mkdir(parents=True, exist_ok=True)
    (STORE / "containers.conf").write_text(ENGINE)
    return {**os.environ, "CONTAINERS_CONF": str(STORE / "containers.conf"), "TMPDIR": str(STORE / "tmp")}


def _store(program):
    return [program, "--root", str(STORE / "graph"), "--runroot", str(STORE / "run"),
            "--storage-driver", "overlay"]


def build(target=None, tag=IMAGE, dockerfile="Dockerfile", context=ROOT):
    """Builds a target of a Dockerfile, on a base image made of this machine's apt sources."""
    environment = _environment()
    yielding = ["nice", "-n", "19"]  # to the tests that run meanwhile
    _run([*yielding, HERE / "base_image.sh", STORE], timeout=1800, env=environment)
    compiled = _run(["ccache", "--get-config", "cache_dir"], timeout=60).stdout.strip()
    pathlib.Path(compiled).mkdir(parents=True, exist_ok=True)
    (STORE / "ccache.conf").write_text(COMPILED_ANYWHERE)
    # Without the sources of this machine, apt in the image would not know where to ask; what test.sh has
    # compiled outside need not be compiled again inside.
    _run([*yielding, *_store("buildah"), "bud", "--layers", "--format", "docker", "--isolation", "chroot",
          "--pull-never", "--volume", "/etc/apt/sources.list.d:/etc/apt/sources.list.d:ro",
          "--volume", f"{compiled}:/ccache",
          "--volume", f"{STORE}/ccache.conf:/etc/ccache.conf:ro", "--file", str(dockerfile),
          "--tag", tag, *(["--target", target] if target else []), str(context)], timeout=3600, env=environment)
    return tag


def podman(*arguments, timeout=300, check=True):
    return _run([*_store("podman"), "--tmpdir", str(STORE / "tmp" / "podman"), *map(str, arguments)], timeout, check,
                env=_environment())


def inspect(image):
    [found] = json.loads(podman("image", "inspect", image).stdout)
    return found


class Container:
    """A container that runs until stop(), locked in as tightly as one can be."""

    def __init__(self, name, *arguments, image=IMAGE, options=()):
        self.name = name
        podman("rm", "--force", "--ignore", name)
        podman("run", "--detach", "--pull", "never", "--name", name, "--network", "none", "--read-only",
               "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", "256m",
               "--pids-limit", "256", *options, image, *arguments)

    def run(self, *command, check=True, **options):
        return podman("exec", self.name, *command, check=check, **options)

    def cli(self, *arguments):
        return self.run("/usr/bin/lazynorm", *arguments).stdout

    def copy_in(self, source, target):
        podman("cp", source, f"{self.name}:{target}")

    def state(self, what):
        return podman("inspect", self.name, "--format", "{{.State." + what + "}}").stdout.strip()

    def healthy(self):
        return podman("healthcheck", "run", self.name, check=False).returncode == 0

    def logs(self):
        shown = podman("logs", self.name)
        return shown.stdout + shown.stderr

    def remove(self):
        podman("rm", "--force", "--ignore", "--time", "0", self.name)
