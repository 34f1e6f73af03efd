#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# regress-report.py [--again] DIR: compare, test by test, the output of guest/regress.sh
# for the commands in DIR/list on the base kernel (DIR/base.1, base.2 and so on) with that
# on ours (DIR/ours.1 and so on). The first has all commands, the others those that ran
# again. With --again, only list the commands whose results differ.

"""A test passed, failed, was skipped, or is missing though its program ran."""

import collections
import glob
import re
import sys

TAP = re.compile(r"(not )?ok (\d+)\s*(?:- )?(.*)")
UFFD = re.compile(r"^Testing (.*?)\.\.\. ", re.M)
UFFD_WORDS = re.compile(r"\b(done|failed|skipped)\b")
KHUGEPAGED = re.compile(r"^Run test: (.*)", re.M)

# In the name of one of pagemap_ioctl's tests: how often a race was lost.
VARIES = re.compile(r" Extra pages .*")

EXIT = "exit status"


def status(number):
    return {"0": "pass", "4": "skip"}.get(number, "fail")


def tap(text):
    for line in text.splitlines():
        match = TAP.match(line)
        if not match:
            continue
        name, _, directive = VARIES.sub("", match[3]).partition("#")
        skip = directive.strip().startswith("SKIP")
        # A test without a name still has a reason to be skipped.
        name = name.strip() or directive.strip() or f"number {match[2]}"
        yield name, "fail" if match[1] else "skip" if skip else "pass"


def blocks(pattern, text):
    """What pattern finds at the beginning of each block, and the block."""
    parts = pattern.split(text)
    return zip(parts[1::2], parts[2::2])


def uffd(text):
    words = {"done": "pass", "skipped": "skip"}
    for name, block in blocks(UFFD, text):
        match = UFFD_WORDS.search(block)
        yield name, words.get(match[1], "fail") if match else "fail"


def khugepaged(text):
    """Only the colours of its output tell the results apart."""
    for name, block in blocks(KHUGEPAGED, text):
        red, yellow = "\033[31m" in block, "\033[33m" in block
        yield name, "fail" if red else "skip" if yellow else "pass"


def results(text):
    """The result of each test in a program's output, by name."""
    found = {}
    for parse in (tap, uffd, khugepaged):
        counts = collections.Counter()
        for name, result in parse(text):
            counts[name] += 1
            if counts[name] > 1:
                name += f" ({counts[name]})"
            found[name] = result
    return found


def read_run(path):
    """For each command of a run, the results of its tests."""
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    run = {}
    for part in re.split(r"^lab: begin ", text, flags=re.M)[1:]:
        command, _, output = part.partition("\n")
        output, _, end = output.partition("\nlab: end ")
        run[command] = results(output)
        run[command][EXIT] = status(end.strip())
    return run


def read_runs(pattern):
    return [read_run(path) for path in sorted(glob.glob(pattern))]


def series(runs, command, test):
    """A test's results in those of the runs that had, or should have had, its program."""
    return [
        run.get(command, {}).get(test, "missing")
        for number, run in enumerate(runs)
        if number == 0 or command in run
    ]


def verdict(test, base, ours, status_on_base):
    if test == EXIT and "missing" in base:
        return "LOST"
    if len(set(base + ours)) == 1:
        return base[0]
    # A program that gives up now and then, on the base as well, does so anywhere.
    if set(base) == {"pass"} and set(ours) <= {"pass", "missing"}:
        return "flaky" if len(set(status_on_base)) > 1 else "WORSE"
    if set(base) == {"pass"}:
        return "WORSE"
    return "flaky" if len(set(base)) > 1 else "other"


def compare(commands, base, ours):
    """Yields (command, test, results on the base, results on ours, verdict)."""
    for command in commands:
        tests = {}  # as a set, in order
        for run in base + ours:
            tests.update(dict.fromkeys(run.get(command, ())))
        status_on_base = series(base, command, EXIT)
        for test in tests or [EXIT]:
            lists = [series(runs, command, test) for runs in (base, ours)]
            yield command, test, *lists, verdict(test, *lists, status_on_base)


def table(rows):
    columns = ["pass", "fail", "skip", "differ"]
    suites = collections.defaultdict(collections.Counter)
    for command, _, _, _, what in rows:
        for suite in (command.split()[0], "all"):
            suites[suite][what if what in columns else "differ"] += 1
    suites["all"] = suites.pop("all")
    print(f"{'suite':16}{'tests':>6}{'passed':>8}{'failed':>8}{'skipped':>9}{'differ':>8}")
    for suite, counts in suites.items():
        print(
            f"{suite:16}{counts.total():6}{counts['pass']:8}{counts['fail']:8}"
            f"{counts['skip']:9}{counts['differ']:8}"
        )
    print("passed, failed and skipped: on both kernels, each time")


def listing(rows, title, wanted):
    rows = [row for row in rows if row[4] in wanted]
    if not rows:
        return
    print(f"\n{title}:")
    for command, test, base, ours, what in rows:
        print(f"  {command}: {test}")
        if what != "fail":
            print(f"    {what:6} base: {' '.join(base)}; ours: {' '.join(ours)}")


def main():
    again = sys.argv[1] == "--again"
    where = sys.argv[-1]
    with open(f"{where}/list", encoding="utf-8") as file:
        commands = file.read().splitlines()
    base, ours = (read_runs(f"{where}/{kernel}.*") for kernel in ("base", "ours"))
    rows = list(compare(commands, base, ours))
    if again:
        for command in dict.fromkeys(row[0] for row in rows if row[2] != row[3]):
            print(command)
        return 0
    table(rows)
    listing(rows, "Not the same", ("WORSE", "LOST", "flaky", "other"))
    listing(rows, "Failed on both", ("fail",))
    print("\nSkipped on both, by program:")
    skipped = collections.Counter(row[0] for row in rows if row[4] == "skip")
    for command, count in skipped.items():
        print(f"{count:5} {command}")
    return any(row[4] in ("WORSE", "LOST") for row in rows)


if __name__ == "__main__":
    sys.exit(main())
