# format-log.pl SOURCE: the lines of a program, in the format that all lines of the log have:
#
#   2026-11-25 14:26:04.123 UTC [repmgrd] NOTICE: this is a line
#
# A line that has it passes. Of PostgreSQL, of repmgr and repmgrd, and of PostgreSQL's tools the level is understood; a line that
# is indented goes on with the last. Perl, for it reads in blocks: bash and sed -u read bytes.
use strict;
use warnings;
use Time::HiRes qw(time);

my ($source) = @ARGV;
my $level = 'INFO';
$| = 1;
# It ends with its input, after what others have to say in the end.
$SIG{INT} = $SIG{TERM} = 'IGNORE';

while (my $line = <STDIN>) {
    $line =~ s/\s+$//;
    $line =~ s/^backend> //;    # what pg_rewind starts PostgreSQL as has a prompt
    next if $line eq '';
    if (my ($at, $from, $its, $text) =
        $line =~ /^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) (?:UTC|GMT) \[([^\]]+)\] ([A-Z]+)\d?: +(.*)/) {
        # PostgreSQL has a process id there until it has read its configuration.
        $from = $source if $from =~ /^\d+$/;
        $level = $its;
        print "$at UTC [$from] $its: $text\n";
        next;
    }
    if ($line =~ s/^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] \[([A-Z]+)\] *//) {
        $level = $1;
    } elsif ($line =~ s/^(?:\Q$source\E: )?(debug|info|notice|log|warning|error|fatal|panic|detail|hint): *//i) {
        $level = uc $1;
    } elsif ($line !~ s/^\s+//) {
        $level = 'INFO';
        $line =~ s/^\Q$source\E: //;
    }
    next if $line eq '';        # repmgrd's "DETAIL:", when the server has not told it any
    my $now = time;
    my @at = gmtime $now;
    printf "%04d-%02d-%02d %02d:%02d:%02d.%03d UTC [%s] %s: %s\n",
        $at[5] + 1900, $at[4] + 1, @at[3, 2, 1, 0], ($now - int $now) * 1000, $source, $level, $line;
}
