"""What the programs are, asked of the programs: flags, commands and their options, metrics under load."""

import csv
import os
import pathlib
import re
import subprocess

import yaml

from programs import LAZYNORM, LAZYNORMD

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["LAZYNORM_BUILD"])
DEPLOY = ROOT / "deploy"
WEATHER = DEPLOY / "data" / "seattle-weather.csv"
COLUMNS = ["--target", "temp_max", "--ahead", "1", "--date", "date", "--one-hot", "weather"]


def say(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False).stdout


def server_flags():
    """{flag: default} of lazynormd."""
    text = re.sub(r"\s+", " ", say(LAZYNORMD, "--help").split("Flags from")[1])
    flags = re.findall(r"--(\w+) \(.*?\); default: (.*?);", text)
    assert len(flags) > 20, "lazynormd --help cannot be read"
    return {name: default.strip('"') for name, default in flags}


def commands():
    """{command: its options} of lazynorm; the options before a command are under ""."""
    top = say(LAZYNORM, "--help")
    names = re.findall(r"^  (\w+) ", top.split("Subcommands:")[1].split("\n\n")[0], re.MULTILINE)
    assert "train" in names, "lazynorm --help cannot be read"
    options = {name: set(re.findall(r"(--[\w-]+)", say(LAZYNORM, name, "--help"))) for name in names}
    return {**options, "": set(re.findall(r"(--[\w-]+)", top))}


def version():
    return re.search(r"^project\(lazynorm VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)[1]


def series_of(scrape):
    """{metric: the names of its labels} of a text format scrape; a histogram's parts are their own."""
    found = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", scrape, re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


def documents(path):
    return [document for document in yaml.safe_load_all(pathlib.Path(path).read_text()) if document]


def headings(path):
    """The anchors of a Markdown file's headings, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
            for line in path.read_text().splitlines() if line.startswith("#")}


def predict_once(server, model="weather", columns=6):
    """One unary Predict of one row, as any client would send it: the command line streams."""
    text = f'model: "{model}" features {{ rows: 1 columns: {columns} values: [{", ".join(["1"] * columns)}] }}'
    proto = ROOT / "proto"
    message = subprocess.run(
        ["protoc", f"-I{proto}", "--encode=lazynorm.v1.PredictRequest", "lazynorm/v1/prediction_service.proto"],
        cwd=proto, input=text.encode(), capture_output=True, timeout=120, check=True).stdout
    answer = subprocess.run(
        ["curl", "--silent", "--http2-prior-knowledge", "--include", "--header", "content-type: application/grpc",
         "--header", "te: trailers", "--data-binary", "@-",
         f"http://{server.address}/lazynorm.v1.PredictionService/Predict"],
        input=b"\0" + len(message).to_bytes(4, "big") + message, capture_output=True, timeout=120, check=True).stdout
    assert b"grpc-status: 0" in answer, answer


def put_under_load(server, folder):
    """What the demo does, smaller, and a little of everything else that has a series: a challenger, a
    frozen model, remembered predictions, refusals."""
    rows = list(csv.reader(WEATHER.read_text().splitlines()))
    for row in rows[1:]:
        row.insert(0, row[0])
    rows[0].insert(0, "id")
    few = pathlib.Path(folder) / "few.csv"
    with few.open("w", newline="") as file:
        csv.writer(file).writerows(rows[:1] + rows[-30:])
    server.cli("train", "weather", str(WEATHER), *COLUMNS, "--create", "--batch", "7")
    if "challenger" not in server.cli("list"):
        server.cli("copy", "weather", "challenger")
        server.cli("update", "challenger", "--shadow-of", "weather", "--lr", "0.003")
        server.cli("create", "narrow", "--in-features", "2", "--hidden", "4")
    server.cli("predict", "weather", str(few), "--date", "date", "--one-hot", "weather", "--ignore", "id",
               "--batch", "1")
    server.cli("predict", "weather", str(few), "--date", "date", "--one-hot", "weather", "--remember", "id")
    for _ in range(20):
        predict_once(server, columns=11)
    server.cli("train", "narrow", "-", "--target", "y", stdin="a,b,c,y\n" + "1,2,3,4\n" * 4, code=1)
    server.cli("get", "nobody", code=4)
