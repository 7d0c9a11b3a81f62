#!/usr/bin/env bash
# Names the functions and lines of a crash's stack: tools/where.sh <what-the-crash-said. Frames of
# this program are looked up in the file that the line names, or in the one given as an argument,
# which must be of the same build; the rest is shown as it is.
set -u
while IFS= read -r line; do
    if [[ $line =~ ^([^ ]*)\(\+(0x[0-9a-f]+)\) ]]; then
        program=${1:-${BASH_REMATCH[1]}} offset=${BASH_REMATCH[2]}
        case $line in *.so*) ;; *)
            # a frame holds where its call returns to, which may be the next line already
            [ -r "$program" ] && line="    $(addr2line -pfi -e "$program" "$(printf '0x%x' $((offset - 1)))" | sed 's/ *(discriminator [0-9]*)//')" ;;
        esac
    fi
    printf '%s\n' "$line"
done
