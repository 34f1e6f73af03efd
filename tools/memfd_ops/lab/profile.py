#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# profile.py SYSTEM.MAP FILE: print, by function, the instructions of each part in FILE,
# which profile.c wrote. Consecutive parts whose sizes differ by 1 % at most are averaged.

import bisect
import sys

LARGEST_MODULE = 1 << 20


def read_symbols(path):
    with open(path, encoding="ascii") as file:
        symbols = sorted((int(address, 16), name) for address, kind, name in
                         (line.split() for line in file) if kind in "tT")
    return [address for address, _ in symbols], [name for _, name in symbols]


def name_of(address, starts, names):
    if address < 1 << 63:
        return "(user space)"
    if not starts[0] <= address < starts[-1] + LARGEST_MODULE:
        return "(module)"
    return names[bisect.bisect(starts, address) - 1]


def read_parts(path, symbols):
    """The sum of each part, and its instructions by function."""
    parts = []
    with open(path, encoding="ascii") as file:
        for line in file:
            key, number = line.split()
            if key == "part":
                parts.append((int(number), {}))
                continue
            name = name_of(int(key, 16), *symbols)
            counts = parts[-1][1]
            counts[name] = counts.get(name, 0) + int(number)
    return parts


def groups(parts):
    group = []
    for part in parts:
        if group and abs(part[0] / group[0][0] - 1) > .01:
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def main(system_map, path):
    for group in groups(read_parts(path, read_symbols(system_map))):
        total = sum(part[0] for part in group) / len(group)
        print(f"{len(group)} x {total:.0f} instructions")
        functions = {}
        for _, counts in group:
            for name, count in counts.items():
                functions[name] = functions.get(name, 0) + count / len(group)
        for name, count in sorted(functions.items(), key=lambda item: -item[1]):
            if count >= total / 200:
                print(f"{count:14.0f} {count / total:6.1%}  {name}")
        print()


main(*sys.argv[1:])
