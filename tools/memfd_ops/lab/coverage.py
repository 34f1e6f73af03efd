#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# coverage.py TREE KERNEL PARTS NOT-COUNTED REASONS GOAL: the share that the tests run of the
# lines that the patch TREE/.memfd_ops.patch adds, except those of files that match
# NOT-COUNTED. gcov's notes are next to the objects in KERNEL, and the counts of each guest
# below PARTS. REASONS has why no test runs all of a function: "FILE FUNCTION REASON".
# Prints a table, and the lines that do not run; fails if the share is below GOAL, in percent,
# or if a line has no reason.

import collections
import json
import os
import re
import subprocess
import sys

CODE = re.compile(r"(arch|drivers|include|kernel|mm|samples|virt)/.*\.[ch]")

# The first line of a function's definition, or the second one if its type has its own
DEFINITION = re.compile(r"(?:[a-z][\w *]*[ *])?(\w+)\([^;]*")


def added_lines(patch, not_counted):
    """The numbers of the lines that the patch adds, by file."""
    lines = collections.defaultdict(set)
    with open(patch, encoding="utf-8") as file:
        for text in file:
            if text.startswith("+++ "):
                name = text[6:].rstrip()
                ours = CODE.fullmatch(name) and not re.search(not_counted, name)
            elif text.startswith("@@ "):
                number = int(re.match(r"@@ -\S+ \+(\d+)", text)[1])
            elif text.startswith("+") and ours:
                lines[name].add(number)
            if text[0] in "+ " and not text.startswith("+++ "):
                number += 1
    return lines


def find(top, suffix):
    for directory, _, names in os.walk(top):
        yield from (os.path.join(directory, name) for name in names
                    if name.endswith(suffix))


def gcov(path):
    """The counts of one object, from one guest or, by its notes alone, from none."""
    done = subprocess.run(["gcov", "--json-format", "--stdout", "--branch-probabilities",
                           path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          cwd=os.path.dirname(path), check=True)
    return json.loads(done.stdout)


def collect(tree, kernel, parts, ours):
    """The counts by file, line, and for branches also the number of the branch."""
    lines, branches = collections.Counter(), collections.Counter()
    for path in [*find(kernel, ".gcno"), *find(parts, ".gcda")]:
        for source in gcov(path)["files"]:
            # ccache makes paths relative to the directory of the kernel.
            name = os.path.relpath(os.path.join(kernel, source["file"]), tree)
            if name not in ours:
                continue
            # Inlined functions, and macros, are there more than once.
            seen = collections.Counter()
            for line in source["lines"]:
                key = name, line["line_number"]
                if key[1] not in ours[name]:
                    continue
                lines[key] += line["count"]
                for branch in line["branches"]:
                    branches[*key, seen[key]] += branch["count"]
                    seen[key] += 1
    return lines, branches


def functions_missed(tree, lines):
    """The lines that do not run, by file and function: gcov does not name a function that
    the compiler has inlined everywhere."""
    texts, missed = {}, collections.defaultdict(dict)
    for (name, number), count in sorted(lines.items()):
        if count:
            continue
        if name not in texts:
            with open(os.path.join(tree, name), encoding="utf-8") as file:
                texts[name] = file.read().splitlines()
        starts = filter(None, map(DEFINITION.fullmatch, reversed(texts[name][:number])))
        missed[name, next(starts)[1]][number] = texts[name][number - 1].strip()
    return missed


def percent(counts):
    if not counts:
        return "     -"
    return f"{100 * sum(map(bool, counts)) / len(counts):5.1f}%"


def print_table(lines, branches):
    width = max(len(key[0]) for key in lines)
    print(f"{'file':{width}}  lines     run  branches")
    for name in [*sorted({key[0] for key in lines}), "total"]:
        of_file = [[count for key, count in counts.items() if name in (key[0], "total")]
                   for counts in (lines, branches)]
        print(f"{name:{width}} {len(of_file[0]):6}  {percent(of_file[0])}"
              f"    {percent(of_file[1])}")


def read_reasons(path):
    with open(path, encoding="utf-8") as file:
        words = [text.split(maxsplit=2) for text in file if text.strip() and text[0] != "#"]
    return {(name, function): reason.strip() for name, function, reason in words}


def print_rest(missed, reasons):
    """Each function that is not run completely, why, and the lines."""
    for key, texts in missed.items():
        print(f"\n{key[0]}: {key[1]}(): {reasons.get(key, 'NO REASON IS KNOWN')}")
        for number, text in texts.items():
            print(f"{number:6}: {text}")


def main(tree, kernel, parts, not_counted, reasons, goal):
    ours = added_lines(os.path.join(tree, ".memfd_ops.patch"), not_counted)
    lines, branches = collect(tree, kernel, parts, ours)
    missed = functions_missed(tree, lines)
    reasons = read_reasons(reasons)
    unknown = [texts for key, texts in missed.items() if key not in reasons]
    run = sum(map(bool, lines.values()))

    print_table(lines, branches)
    print("\nThe lines that are not run, by function, and why:")
    print_rest(missed, reasons)
    for name, function in reasons.keys() - missed.keys():
        print(f"\n{name}: {function}(): runs completely, although it has a reason")
    print(f"\n{run} of {len(lines)} lines run; {goal} % must. "
          f"{sum(map(len, unknown))} are not, without a reason.")
    sys.exit(100 * run < int(goal) * len(lines) or bool(unknown))


main(*sys.argv[1:])
