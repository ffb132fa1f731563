#!/usr/bin/env bash
# Ask a question and cut the seconds that the answer rests on out of the videos.
#
#   cut_found.sh "where was the pink circle?" clips/ [flags of streamkv ask, such as --tag place=x]
#
# Prints one line for each clip: its file, the video, from and to in seconds.
set -euo pipefail
question=$1
clips=$2
shift 2
here=$(dirname "$(readlink -f "$0")")

# Evidence names a video by its id; where the file lies is in the store's list.
sources=$(streamkv ls --json | jq -cs 'map({(.id): .source}) | add')
streamkv ask "$question" --json "$@" |
    jq -c --argjson sources "$sources" \
        '.evidence[:3][] | {source: $sources[.id], start, "end": .end}' |
    "${PYTHON:-python3}" "$here/cut.py" "$clips"
