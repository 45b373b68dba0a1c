"""Writes public data sets as streams: CSV of numbers with a header, in order of time where there is
one, the target last.

  prepare.py VEGA_FOLDER SKLEARN_FOLDER OUTPUT_FOLDER
"""

import csv
import datetime
import gzip
import json
import math
import pathlib
import sys

WEATHER_KINDS = ["drizzle", "rain", "sun", "snow", "fog"]
QUANTITIES = ["precipitation", "temp_max", "temp_min", "wind"]


def season(date):
    """The time of the year as a point on a circle."""
    turn = 2 * math.pi * (date.timetuple().tm_yday - 1) / 365.25
    return {"season_sin": math.sin(turn), "season_cos": math.cos(turn)}


def hour(time):
    turn = 2 * math.pi * (time.hour + time.minute / 60) / 24
    return {"hour_sin": math.sin(turn), "hour_cos": math.cos(turn)}


def ahead(rows, target):
    """Rows whose target is what `target` is in the next one."""
    return [dict(row, target=later[target]) for row, later in zip(rows, rows[1:])]


def read(path):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def weather_row(row):
    features = season(datetime.date.fromisoformat(row["date"]))
    features.update((name, float(row[name])) for name in QUANTITIES)
    features.update((kind, int(row["weather"] == kind)) for kind in WEATHER_KINDS)
    return features


def weather(path, place=None):
    """Tomorrow's maximum temperature."""
    rows = [row for row in read(path) if place is None or row["location"] == place]
    return ahead([weather_row(row) for row in rows], "temp_max")


def hourly(path):
    """The temperature in an hour."""
    rows = []
    for row in read(path):
        time = datetime.datetime.fromisoformat(row["date"])
        numbers = {name: float(row[name]) for name in ("pressure", "temperature", "wind")}
        rows.append({**hour(time), **season(time), **numbers})
    return ahead(rows, "temperature")


def co2(path):
    """Next month's concentration."""
    rows = []
    for row in read(path):
        date = datetime.date.fromisoformat(row["Date"])
        rows.append({**season(date), "co2": float(row["CO2"])})
    return ahead(rows, "co2")


def index(path):
    """Tomorrow's closing price."""
    names = ["open", "high", "low", "close", "volume"]
    return ahead([{name: float(row[name]) for name in names} for row in read(path)], "close")


def flights(path):
    """The delay in minutes."""
    rows = []
    for row in sorted(json.loads(path.read_text()), key=lambda row: row["date"]):
        time = datetime.datetime.strptime(row["date"], "%Y/%m/%d %H:%M")
        rows.append({**hour(time), **season(time), "weekday": time.weekday(),
                     "distance": row["distance"], "target": row["delay"]})
    return rows


def cars(path):
    """Miles a gallon, car by car through the years."""
    names = ["Cylinders", "Displacement", "Horsepower", "Weight_in_lbs", "Acceleration"]
    rows = []
    for row in sorted(json.loads(path.read_text()), key=lambda row: row["Year"]):
        if None in (row["Miles_per_Gallon"], *(row[name] for name in names)):
            continue
        origin = {place: int(row["Origin"] == place) for place in ("USA", "Europe", "Japan")}
        rows.append({**{name: row[name] for name in names}, **origin, "year": int(row["Year"][:4]),
                     "target": row["Miles_per_Gallon"]})
    return rows


def numbered(lines):
    """Rows of numbers, the last of which is the target."""
    return [{**{f"x{i}": value for i, value in enumerate(line[:-1])}, "target": line[-1]}
            for line in lines]


def plain(path, first):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        lines = file.read().splitlines()[first:]
    return [[float(cell) for cell in line.replace(",", " ").split()] for line in lines]


def diabetes(folder):
    features = plain(folder / "diabetes_data_raw.csv.gz", 0)
    targets = plain(folder / "diabetes_target.csv.gz", 0)
    return numbered([x + y for x, y in zip(features, targets)])


def write(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            writer.writerow({name: f"{value:.9g}" for name, value in row.items()})
    print(f"{path.name}: {len(rows)} rows, {len(rows[0]) - 1} features", file=sys.stderr)


def main(vega, sklearn, output):
    streams = {
        "seattle-weather": weather(vega / "seattle-weather.csv"),
        "new-york-weather": weather(vega / "weather.csv", "New York"),
        "hourly-temperature": hourly(vega / "seattle-weather-hourly-normals.csv"),
        "co2": co2(vega / "co2-concentration.csv"),
        "sp500": index(vega / "sp500-2000.csv"),
        "flights": flights(vega / "flights-5k.json"),
        "cars": cars(vega / "cars.json"),
        "diabetes": diabetes(sklearn),
        "wine": numbered(plain(sklearn / "wine_data.csv", 1)),
        "breast-cancer": numbered(plain(sklearn / "breast_cancer.csv", 1)),
        "digits": numbered(plain(sklearn / "digits.csv.gz", 0)),
    }
    for name, rows in streams.items():
        write(output / f"{name}.csv", rows)


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
