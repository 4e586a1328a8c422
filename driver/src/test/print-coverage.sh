#!/bin/bash
# Prints the coverage that JaCoCo has put into a CSV file, by package and in total.
#
#   print-coverage.sh FILE      says nothing if there is no such file: no tests were run
set -euo pipefail

file=${1:?'usage: print-coverage.sh FILE'}
[[ -f $file ]] || exit 0

printf '%-41s %-19s %s\n' 'Covered by the unit tests' lines branches
awk -F, '
    function share(covered, missed) {
        return sprintf("%5d of %4d %3d%%", covered, covered + missed, 100 * covered / (covered + missed + 1e-9))
    }
    function count(name) {
        branches_missed[name] += $6; branches[name] += $7; lines_missed[name] += $8; lines[name] += $9
    }
    NR > 1 { count($2); count("total") }
    END {
        for (name in lines)
            printf "  %-38s %s  %s\n", name, share(lines[name], lines_missed[name]),
                share(branches[name], branches_missed[name])
    }' "$file" | LC_ALL=C sort
