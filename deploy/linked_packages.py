#!/usr/bin/env python3
"""Lists what the given programs link: linked_packages.py PROGRAM... > linked-packages.tsv

One line a Debian package, tabs between the columns: its name, its version, its source package, and
which of its shared libraries are loaded. What dpkg does not know stands in a line of dashes."""

import os
import re
import subprocess
import sys


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def libraries(program):
    """{soname: path} of everything the loader would load."""
    found = re.findall(r"^\s*(?:(\S+) => )?(/\S+) \(", output_of("ldd", program), re.MULTILINE)
    return {name or os.path.basename(path): path for name, path in found}


def owner(path):
    """The package, version and source package of a file; dashes if it has none."""
    real = os.path.realpath(path)
    # The package may know the file by the name it had before /lib became a link to /usr/lib.
    for name in (real, real.removeprefix("/usr")):
        answer = subprocess.run(["dpkg-query", "-S", name], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            columns = "${Package}\t${Version}\t${source:Package}"
            return output_of("dpkg-query", "-W", "-f", columns, answer.stdout.split(": ")[0])
    return "-\t-\t-"


def main(programs):
    found = {}
    for program in programs:
        found.update(libraries(program))
    packages = {}
    for name, path in sorted(found.items()):
        packages.setdefault(owner(path), []).append(name)
    print("package\tversion\tsource\tlibraries")
    for package, names in sorted(packages.items()):
        print(f"{package}\t{' '.join(names)}")


if __name__ == "__main__":
    main(sys.argv[1:])
