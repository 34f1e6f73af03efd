#!/usr/bin/env perl
# SPDX-License-Identifier: GPL-2.0
#
# words.pl LIST FILE...: print where the files have a phrase of the list, which explains
# its own form. Of a patch, only the description and the lines that it adds count.

use strict;
use warnings;

my @phrases;
my $found = 0;

open(my $list, '<', shift) or die "list: $!\n";
while (<$list>) {
	next unless /^([^#].*) -- (.*)/;
	my ($phrase, $cure) = ($1, $2);
	$phrase =~ s/ /[\\s*#+"\\\\]+/g;
	push(@phrases, [qr/\b(?:$phrase)\b/i, $cure]);
}

foreach my $file (@ARGV) {
	open(my $in, '<', $file) or die "$file: $!\n";
	my $text = do { local $/; <$in> } // '';
	if ($file =~ /\.patch$/) {
		my ($description, $diff) = split(/^(?=diff --git )/m, $text, 2);
		$text = $description . ($diff // '') =~ s/^[^+\n].*//gmr;
	}
	my @matches;
	foreach (@phrases) {
		my ($phrase, $cure) = @$_;
		while ($text =~ /$phrase/g) {
			next if defined($1);
			my $line = 1 + substr($text, 0, $-[0]) =~ tr/\n//;
			push(@matches, [$line, $& =~ s/[\s*#+"\\]+/ /gr, $cure]);
		}
	}
	printf("%s:%d: %s: %s\n", $file, @$_) foreach sort { $a->[0] <=> $b->[0] } @matches;
	$found += @matches;
}
exit($found ? 1 : 0);
