#!/usr/bin/env python3
"""Writes lazynormd.8 and lazynorm.1 from what the programs say of themselves:
man_pages.py FOLDER_OF_PROGRAMS OUTPUT_FOLDER"""

import os
import re
import subprocess
import sys


def say(program, *arguments):
    """What a program prints; --help of Abseil's flags ends with 1."""
    run = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if run.returncode not in (0, 1) or not run.stdout:
        sys.exit(f"man_pages.py: {program} {' '.join(arguments)} said nothing usable: {run.stderr}")
    return run.stdout


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def verbatim(text):
    return f".nf\n{escape(text.rstrip())}\n.fi\n"


def head(name, section, version, summary):
    return (f'.TH {name.upper()} {section} "" "lazynorm {version}"\n'
            f".SH NAME\n{name} \\- {escape(summary)}\n")


def flags_of(help_text):
    """[(name, what it is, default)] of an Abseil --help, its lines joined again."""
    text = re.sub(r"\s+", " ", help_text[help_text.index("Flags from"):])
    return re.findall(r"--(\w+) \((.*?)\); default: (.*?);(?= --|\s*Try|\s*$)", text)


def server_page(program):
    text = say(program, "--help")
    version = say(program, "--version").split()[-1]
    usage = text.split("\n", 2)[2].split("Flags from")[0].strip("\n")
    page = [head("lazynormd", 8, version, "model server that learns while it serves"),
            ".SH SYNOPSIS\n.B lazynormd\n[\\fB\\-\\-FLAG\\fR=\\fIVALUE\\fR ...]\n",
            ".SH DESCRIPTION\n"
            "Hosts normalised neural networks that learn online from the rows they are sent, over gRPC.\n"
            "On SIGTERM it stops being ready, serves on for \\-\\-drain_seconds, finishes what is queued "
            "and ends with 0; a second signal ends it at once.\n",
            ".SH EXAMPLES\n", verbatim(usage), ".SH FLAGS\n"]
    flags = flags_of(text)
    if len(flags) != len(re.findall(r"^    --", text, re.MULTILINE)):
        sys.exit("man_pages.py: lazynormd --help has flags that cannot be read")
    for name, words, default in flags:
        page.append(f".TP\n.B {escape('--' + name)}\n{escape(words)}. Default: {escape(default)}\n")
    page.append(".TP\n.B \\-\\-flagfile\nA file with further flags, one a line.\n")
    page.append(".SH FILES\n.TP\n.I /etc/default/lazynormd\n"
                "LAZYNORMD_FLAGS, the flags of the systemd service.\n"
                ".TP\n.I /var/lib/lazynorm\nThe models of the systemd service.\n"
                ".SH SEE ALSO\n.BR lazynorm (1)\n")
    return "".join(page)


def client_page(program):
    text = say(program, "--help")
    version = say(program, "--version").split()[-1]
    summary, rest = text.split("\n", 1)
    commands = re.findall(r"^  (\w+) ", text.split("Subcommands:")[1].split("\n\n")[0], re.MULTILINE)
    page = [head("lazynorm", 1, version, "command line of lazynormd"),
            ".SH SYNOPSIS\n.B lazynorm\n[\\fIOPTIONS\\fR] \\fICOMMAND\\fR\n",
            f".SH DESCRIPTION\n{escape(summary)}\n", verbatim(rest.split("\n", 1)[1])]
    for command in commands:
        page.append(f".SH {command.upper()}\n{verbatim(say(program, command, '--help'))}")
    page.append(".SH SEE ALSO\n.BR lazynormd (8)\n")
    return "".join(page)


def main(programs, folder):
    for name, text in (("lazynormd.8", server_page(os.path.join(programs, "lazynormd"))),
                       ("lazynorm.1", client_page(os.path.join(programs, "lazynorm")))):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
