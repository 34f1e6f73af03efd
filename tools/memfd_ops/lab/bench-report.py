#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# bench-report.py DIRECTORY IOMMU:CONFIG=FILE...: convert the output of memfd-ops-bench,
# with this IOMMU and CONFIG_MEMFD_OPS on or off, to DIRECTORY's results.json, to data
# for bench.gnuplot, and to tables on the standard output. Exits with 1 if a "must" limit
# is missed, or was not measured although all rows should have been.
#
# bench-report.py compare FILE FILE: compare two results.json. Exits with 1 if any two
# numbers differ by more than 1 %.

import json
import os
import sys

ALL_ROWS = not os.environ.get("ROWS")
OURS = ("mdev", "vfio", "iommufd")
COLUMNS = (("4k", "fresh"), ("4k", "interleaved"), ("2m", "fresh"))
FRESH, INTERLEAVED, HUGE = COLUMNS
NAMES = {FRESH: "4 KiB fresh", INTERLEAVED: "4 KiB interleaved", HUGE: "2 MiB"}


def number(text):
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text


def read(boot, path):
    """The results of one boot. Any other line is an error."""
    iommu, config = boot.split(":")
    results = []
    with open(path, encoding="ascii") as file:
        for line in file:
            fields = line.rstrip("\n").split("\t")
            if len(fields) < 6:
                sys.exit(f"{path}: {line.rstrip()}")
            row, what, interface, folio, layout, value = fields[:6]
            interface, _, way = interface.partition("floor-")
            result = {"row": int(row), "what": what, "interface": interface or "floor",
                      "folio": folio, "layout": layout, "config": config,
                      "iommu": iommu,
                      "insns_per_page": None if value == "-" else float(value)}
            if way:
                result["way"] = way
            for field in fields[6:]:
                key, _, text = field.partition("=")
                result[key] = number(text)
            results.append(result)
    return results


class Results:
    """The results with one IOMMU."""

    def __init__(self, results, iommu):
        self.all = [r for r in results if r["iommu"] == iommu]
        self.iommu = iommu

    def find(self, column=None, **keys):
        """The results with these keys; config is "on" where there is such a boot."""
        if column:
            keys["folio"], keys["layout"] = column
        if "config" not in keys:
            keys["config"] = self.all[0]["config"]
        return [r for r in self.all
                if all(r.get(key) == value for key, value in keys.items())]

    def least(self, column, **keys):
        """The floor is the cheapest of the ways to do it."""
        values = [r["insns_per_page"] for r in self.find(column, **keys)]
        return min(values, default=None)

    def floor(self, what, column):
        return self.least(column, interface="floor", what=what)

    def base(self, r):
        """The base of a result in the table: see BASES."""
        column = (r["folio"], r["layout"])
        same = {"row": r["row"], "what": r["what"]}
        if r["row"] in (1, 2):
            return self.floor(r["what"], column)
        if r["row"] == 3:
            return self.least(column, interface="none", ptes=r["ptes"], **same)
        if r["row"] == 4:
            return self.least(column, interface="none", **same)
        if r["row"] == 5:
            return self.least(column, row=5, what="map dense", interface=r["interface"])
        if r["row"] == 6:
            return self.least(column, interface=r["interface"], windows=r["windows"],
                              consumers=1, **same)
        if r["row"] == 7:
            return self.least(column, interface=r["interface"], mib=64, **same)
        if r["row"] == 8:
            return self.least(column, config="off", **same)
        if r["row"] == 9:
            return self.least(FRESH, interface="guest_memfd", **same)
        if r["row"] == 13 and r["what"] == "unmap":
            return self.by_address(column, **same)
        if r["row"] == 13:
            keys = {"ptes": r["ptes"]} if "ptes" in r else {}
            return self.least(column, interface="none", **keys, **same)
        return None

    def by_address(self, column, **keys):
        """The cheapest of the mappings by address."""
        values = [self.least(column, interface=f"{way}-pin", **keys)
                  for way in ("type1", "iommufd")]
        return min((value for value in values if value), default=None)


BASES = """\
Instructions per 4 KiB page, and the ratio to, in rows
  1, 2  the floor: the cheapest of the ways to make the bare calls
  3, 4  the same with an unmapped file
  5     16 MiB in one piece
  6     one consumer
  7     64 MiB
  8     a kernel without CONFIG_MEMFD_OPS
  9     guest_memfd
  13    the same with an unmapped file; unmap: the cheapest mapping by address
Row 10: bytes of kernel memory, beyond the IOMMU's page tables.
Rows 11 and 12: microseconds.
"""


def label(r):
    text = r["what"]
    if "ptes" in r:
        text += ", mmapped" if r["ptes"] else ", not mmapped"
    if "consumers" in r:
        text += f", {r['consumers']} {r['windows']}"
    if "mib" in r:
        text += f", {r['mib']} MiB"
    if r.get("mirrors"):
        text += f", {r['mirrors']}x"
    if "runs" in r:
        text += f", {r['runs']} runs"
    return text


def cells(results, r):
    if r is None:
        return " " * 18
    value = r["insns_per_page"]
    if value is None:
        value = r["bytes"] if "bytes" in r else r["us"]
    base = results.base(r)
    ratio = value / base if base else 0
    digits = 1 if abs(value) >= 10 else 2
    text = f"{ratio:.{2 if ratio < 100 else 0}f}x" if base else ""
    return f"{value:>11.{digits}f}{text:>7}"


def table(results):
    lines = {}  # by what and interface, in the order of what
    for r in results.find():
        what = lines.setdefault((r["row"], label(r)), {})
        interface = f"{r['interface']}-{r['way']}" if "way" in r else r["interface"]
        what.setdefault(interface, {})[r["folio"], r["layout"]] = r
    print(f"With IOMMU={results.iommu}:\n")
    print(f"{'row':<4}{'what':<32}{'interface':<12}" +
          "".join(f"{NAMES[column]:>18}" for column in COLUMNS))
    last = None
    for (row, what), peers in sorted(lines.items(), key=lambda item: item[0][0]):
        if row != last:
            print()
        last = row
        for interface, columns in peers.items():
            text = "".join(cells(results, columns.get(column)) for column in COLUMNS)
            print(f"{row:<4}{what:<32}{interface:<12}{text.rstrip()}")
    print()


class Limits:
    def __init__(self, results):
        self.results = results
        self.missed = 0

    def check(self, row, kind, text, limit, values, excuse=None):
        """
        The worst of the values; None among them is one that was not measured. With an
        @excuse, a must that is missed is shown as one, and does not count.
        """
        values = list(values)
        measured = bool(values) and None not in values
        if not measured and not ALL_ROWS:
            return
        have = max(values) if measured else float("nan")
        held = measured and have <= limit
        missed = kind == "must" and not held and not (measured and excuse)
        self.missed += missed
        verdict = "ok" if held else "OVER" if measured else "NOT MEASURED"
        if not held and excuse:
            verdict += f": {excuse}"
        print(f"{row:<4}{kind:<6}{text:<52}{limit:>8g}{have:>9.3f}  {verdict}")

    def ours(self, column, **keys):
        return [r for r in self.results.find(column, **keys) if r["interface"] in OURS]

    def ratios(self, column, base=None, **keys):
        """To @base, or to the base in the table."""
        for r in self.ours(column, **keys):
            by = base or self.results.base(r)
            yield r["insns_per_page"] / by if by else None

    def values(self, column, key="insns_per_page", **keys):
        return [r[key] for r in self.ours(column, **keys)]


def limits_map(limits):
    for row, what, musts, aims in ((1, "map", (.8, .9, 3), (1.1, 1.1, 1.2)),
                                   (2, "unmap", (.5, .5, 2), (1.1, 1.1, 1.2))):
        for column, must, aim in zip(COLUMNS, musts, aims):
            name = f"{what}, {NAMES[column]}"
            if column == HUGE:
                limits.check(row, "must", f"{name}: instructions per 4 KiB", must,
                             limits.values(column, row=row))
            else:
                peer = limits.results.least(column, row=row, interface="iommufd-pin")
                limits.check(row, "must", f"{name} / iommufd by address", must,
                             limits.ratios(column, peer, row=row))
            limits.check(row, "aim", f"{name} / floor", aim,
                         limits.ratios(column, row=row))


def limits_files(limits):
    for what, column in [("punch", column) for column in COLUMNS] + \
                        [("punch whole folios", HUGE)]:
        for kind, limit in (("must", 1.25), ("aim", 1.1)):
            limits.check(3, kind, f"{what}, {NAMES[column]} / unmapped file", limit,
                         limits.ratios(column, row=3, what=what))
    for column, excuse in ((FRESH, None), (HUGE, "the page cache's own walk")):
        limits.check(5, "must", f"map sparse, {NAMES[column]} / dense", 1.1,
                     limits.ratios(column, row=5, what="map sparse"), excuse)
    for what in ("punch", "fallocate"):
        limits.check(6, "must", f"{what}, 256 disjoint consumers / one", 1.2,
                     limits.ratios(FRESH, row=6, what=what, windows="disjoint",
                                   consumers=256))


def limits_sizes(limits):
    results = limits.results
    largest = max((r["mib"] for r in results.find(row=7)), default=None)
    for column in (FRESH, HUGE):
        for what in ("map", "unmap"):
            limits.check(7, "must", f"{what}, {NAMES[column]}: to {largest} MiB / 64 MiB",
                         1.1, limits.ratios(column, row=7, what=what))
        # Row 7's windows are in a file as large as the largest, row 2's fills its own.
        whole = results.least(column, row=2, interface="iommufd")
        if whole and largest:
            limits.check(7, "aim", f"unmap, {NAMES[column]}: 64 of {largest} MiB / row 2",
                         1.1, limits.ratios(column, whole, row=7, what="unmap", mib=64))


def limits_alone(limits):
    results = limits.results
    alone = results.find(row=8, config="on")
    if not alone:
        limits.check(8, "must", "not followed", 1.005, [])
    for r in alone:
        base = results.base(r)
        name = f"{r['what']}, {NAMES[r['folio'], r['layout']]}"
        limits.check(8, "must", f"{name} / CONFIG_MEMFD_OPS=n", 1.005,
                     [r["insns_per_page"] / base if base else None])


def limits_guest(limits):
    for what, column, limit, excuse in (
            ("fault, new page", FRESH, 1, "to add a page to shmem"),
            ("fault, old page", FRESH, 1, None),
            ("fault, new page", HUGE, .01, "to clear it"),
            ("fault, old page", HUGE, .01, None)):
        limits.check(9, "must", f"{what}, {NAMES[column]} / guest_memfd", limit,
                     [r["insns_per_page"] / limits.results.base(r) for r in
                      limits.results.find(column, row=9, interface="kvm", what=what)],
                     excuse)


def limits_held(limits):
    # Less than half a byte is a few pages of noise in a GiB.
    for column in (FRESH, HUGE):
        limits.check(10, "must", f"bytes held per page, {NAMES[column]}", .5,
                     limits.values(column, "bytes", row=10, what="held per page"))
    limits.check(10, "must", "bytes held per mapping", 1024,
                 limits.values(FRESH, "bytes", row=10, what="held per mapping"))


def limits_disturb(limits):
    results = limits.results
    for row, what, limit in ((11, "without a schedule", 10000),
                             (12, "not mapped, neighbours", 0)):
        for column in (FRESH, HUGE):
            limits.check(row, "must", f"us {what}, {NAMES[column]}", limit,
                         limits.values(column, "us", row=row))
    for what in ("unmap", "punch", "truncate"):
        peer = results.by_address(FRESH, row=13, what=what)
        limits.check(13, "must", f"{what}, 65536 runs / by address", 2,
                     limits.ratios(FRESH, peer, row=13, what=what))


def check_limits(results):
    limits = Limits(results)
    print(f"{'row':<4}{'':<6}{'limit, for the worst of ours':<52}{'at most':>8}"
          f"{'have':>9}\n")
    for check in (limits_map, limits_files, limits_sizes, limits_alone, limits_guest,
                  limits_held, limits_disturb):
        check(limits)
    print()
    return limits.missed


def write_curves(results, directory):
    """For each curve of bench.gnuplot its points, in DIRECTORY."""
    curves = {}
    for r in results.find(row=7, what="map"):
        curves.setdefault(f"map-{r['folio']}-{r['interface']}", []).append(
            (r["mib"], r["insns_per_page"]))
    for r in results.find(row=6, interface="iommufd"):
        curves.setdefault(f"{r['what']}-{r['windows']}", []).append(
            (r["consumers"], r["insns_per_page"]))
    for name, points in curves.items():
        with open(os.path.join(directory, f"{name}.dat"), "w", encoding="ascii") as file:
            file.writelines(f"{x} {y}\n" for x, y in points)


def main(directory, *boots):
    everything = []
    for boot in boots:
        everything += read(*boot.split("=", 1))
    if not everything:
        sys.exit("there are no results")
    with open(os.path.join(directory, "results.json"), "w", encoding="ascii") as file:
        json.dump(everything, file, indent=1)
        file.write("\n")
    iommus = list(dict.fromkeys(r["iommu"] for r in everything))
    print(BASES)
    for iommu in iommus:
        table(Results(everything, iommu))
    results = Results(everything, iommus[0])
    write_curves(results, directory)
    # The limits are for VT-d.
    if results.find(config="on") and results.iommu == "intel":
        missed = check_limits(results)
        if missed:
            print(f"bench: {missed} \"must\" limit(s) missed")
            sys.exit(1)
    print("bench: PASS")


def numbers(path):
    """The measured numbers, by the keys that identify them."""
    keys = ("row", "what", "interface", "way", "folio", "layout", "config", "iommu",
            "ptes", "consumers", "windows", "mib", "mirrors")
    with open(path, encoding="ascii") as file:
        return {tuple(r.get(key) for key in keys): r["insns_per_page"]
                for r in json.load(file) if r["insns_per_page"]}


def compare(one, two):
    one, two = numbers(one), numbers(two)
    apart = [(key, one[key], two.get(key)) for key in one
             if key not in two or abs(one[key] / two[key] - 1) > .01]
    for key, a, b in apart:
        print(*(part for part in key if part is not None), a, b)
    print(f"{len(one)} numbers, {len(apart)} of them differ by more than 1 %")
    sys.exit(bool(apart) or one.keys() != two.keys())


if sys.argv[1] == "compare":
    compare(*sys.argv[2:])
main(*sys.argv[1:])
