"""Prints the table of a folder of reports that `run` left: medians over the rounds, and ratios against Fanfare."""

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

REFERENCE = "fanfare"

# What the load generator's exit codes mean; any other one is a failure.
VERDICTS = {0: "ok", 1: "ok", 2: "BROKEN", 3: "INVALID"}

# A server that delivers less than this share of what is published, for each second, is behind.
KEEPS_UP = 0.95


class Runs:
    """All rounds of one server in one scenario."""

    def __init__(self):
        self.verdicts = []
        self.figures = defaultdict(list)

    def add(self, verdict, report, waited):
        if verdict == "ok" and is_behind(report):
            verdict = "BEHIND"
        self.verdicts.append(verdict)
        deliveries, cost, response = report["deliveries"], report["cost"], report["latency_ns"]["response"]
        figures = {
            "rate": deliveries["per_second"],
            "cpu": cost["server_cpu_ns_per_delivery"],
            "p50": response["p50"] if response["count"] else None,
            "p99": response["p99"] if response["count"] else None,
            "missing": deliveries["missing"] / max(deliveries["expected"], 1),
            "rss": cost["server_resident_bytes"],
            "waited": float(waited) / 100 if waited else None,
        }
        for name, value in figures.items():
            if value is not None:
                self.figures[name].append(value)

    def median(self, name):
        return statistics.median(self.figures[name]) if self.figures[name] else None

    def verdict(self):
        """What speaks against the figures, and in how many rounds."""
        kinds = [kind for kind in ("FAILED", "INVALID", "BROKEN", "BEHIND") if kind in self.verdicts]
        if not kinds:
            return "ok"
        return ", ".join(f"{kind} {self.verdicts.count(kind)}/{len(self.verdicts)}" for kind in kinds)


def is_behind(report):
    deliveries = report["deliveries"]
    return deliveries["per_second"] < deliveries["due_per_second"] * KEEPS_UP


def lines(path):
    return [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []


def read(folder):
    """The runs of each scenario and server, scenario by scenario."""
    runs = defaultdict(Runs)
    for scenario, server, round_, code, waited in lines(folder / "runs.tsv"):
        verdict = VERDICTS.get(int(code), "FAILED")
        if verdict == "FAILED":
            runs[scenario, server].verdicts.append(verdict)
            continue
        report = json.loads((folder / f"{scenario}.{server}.{round_}.json").read_text())
        runs[scenario, server].add(verdict, report, waited)
    return runs


def count(value):
    return f"{value:,.0f}".replace(",", " ")


def time(ns):
    unit, size = next((unit for unit in (("s", 1e9), ("ms", 1e6)) if ns >= unit[1]), ("us", 1e3))
    digits = 0 if ns >= 100 * size else 1 if ns >= 10 * size else 2
    return f"{ns / size:.{digits}f} {unit}"


def percent(value):
    if value == 0:
        return "0"
    return f"{value * 100:.0f} %" if value >= 0.1 else f"{max(value * 100, 0.01):.2f} %"


def memory(value):
    return f"{value / 2**20:.0f} MiB"


def times(value, reference):
    if value is None or not reference:
        return "-"
    ratio = value / reference
    return count(ratio) if ratio >= 10 else f"{ratio:.2f}"


def show(write, value):
    return "-" if value is None else write(value)


def print_table(head, rows):
    # The first two columns and the last are words, all else are figures.
    words = {0, 1, len(head) - 1}
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, None, *rows]:
        if row is None:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
            continue
        cells = zip(row, widths, range(len(row)))
        cells = [cell.ljust(width) if at in words else cell.rjust(width) for cell, width, at in cells]
        print("| " + " | ".join(cells) + " |")


COLUMNS = [
    ("deliveries/s", "rate", count),
    ("CPU ns each", "cpu", count),
    ("p50", "p50", time),
    ("p99", "p99", time),
    ("missing", "missing", percent),
    ("RSS", "rss", memory),
    ("waited", "waited", percent),
]
RATIOS = [("rate x", "rate"), ("CPU x", "cpu"), ("p50 x", "p50"), ("p99 x", "p99")]

LEGEND = """\
Medians over the rounds. CPU is the server's for each delivery; p50 and p99 are of the time from when a message was due
until a subscriber had it; waited is how much of the time in which the server could have run others had its core.
'x': how many times Fanfare's figure. Verdicts, with the number of rounds:
  BEHIND   all arrived, but fewer each second than were published: the server could not follow
  BROKEN   messages were missing when the wait for late ones was over, or worse; latencies are those of what arrived
  INVALID  connections were missing, or messages were not published when they were due: the round says little
  FAILED   there is no result"""


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: table.py FOLDER")
    folder = Path(sys.argv[1])
    runs = read(folder)
    if not runs:
        sys.exit(f"{folder} has no runs")
    for server, version in lines(folder / "versions.tsv"):
        print(f"{server + ':':<11}{version}")
    print()
    scenarios = list(dict.fromkeys(scenario for scenario, _ in runs))
    rows = []
    for scenario, server in sorted(runs, key=lambda run: scenarios.index(run[0])):
        own, reference = runs[scenario, server], runs.get((scenario, REFERENCE), Runs())
        row = [scenario, server]
        row += [show(write, own.median(name)) for _, name, write in COLUMNS]
        row += [times(own.median(name), reference.median(name)) for _, name in RATIOS]
        rows.append([*row, own.verdict()])
    head = ["scenario", "server", *(column[0] for column in COLUMNS), *(ratio[0] for ratio in RATIOS), "verdict"]
    print_table(head, rows)
    print()
    print(LEGEND)


main()
