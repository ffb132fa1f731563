#!/usr/bin/env bash
# Cut the seconds that words fit best out of the videos.
#
#   cut_found.sh "the pink circle" clips/ [flags of streamkv search, such as --limit 3 --tag place=x]
#
# Prints one line for each clip: its file, the video, from and to in seconds.
set -euo pipefail
words=$1
clips=$2
shift 2
here=$(dirname "$(readlink -f "$0")")

# Hits name a video by its id; where the file lies is in the store's list.
sources=$(streamkv ls --json | jq -cs 'map({(.id): .source}) | add')
streamkv search "$words" --json "$@" |
    jq -c --argjson sources "$sources" '{source: $sources[.id], start, "end": .end}' |
    "${PYTHON:-python3}" "$here/cut.py" "$clips"
