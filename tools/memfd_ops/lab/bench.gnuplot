# SPDX-License-Identifier: GPL-2.0
#
# gnuplot -e "dir = 'DIRECTORY'" bench.gnuplot: draw the growth curves, from the data that
# bench-report.py left in the directory, as growth.svg there.

set terminal svg size 960,720 font "sans-serif,13" background rgb "white"
set output dir . "/growth.svg"
set multiplot layout 2,2

set style data linespoints
set style line 1 lc rgb "#0b6fb8" lw 2 pt 7
set style line 2 lc rgb "#c0392b" lw 2 pt 5
set style line 3 lc rgb "#7f8c8d" lw 2 pt 9
set logscale x 2
set logscale y 10
set ylabel "instructions per 4 KiB page"
set grid
set key top left reverse Left

set xlabel "window, MiB"
set yrange [1:100000]
do for [folio in "4k 2m"] {
	set title "map, folios of " . (folio eq "4k" ? "4 KiB" : "2 MiB")
	plot dir . "/map-" . folio . "-iommufd.dat" ls 1 title "followed", \
	     dir . "/map-" . folio . "-iommufd-pin.dat" ls 2 title "iommufd by address", \
	     dir . "/map-" . folio . "-type1-pin.dat" ls 3 title "type1 by address"
}

set xlabel "consumers of the file"
set yrange [100:10000000]
do for [what in "punch fallocate"] {
	set title what . ", folios of 4 KiB"
	plot dir . "/" . what . "-disjoint.dat" ls 1 title "each has its own window", \
	     dir . "/" . what . "-same.dat" ls 2 title "all have the same window"
}
unset multiplot
