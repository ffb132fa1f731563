#!/usr/bin/env bash
# Answer a list of questions, one a line, as CSV: question, answer, video, seconds from and to.
#
#   questions_to_csv.sh questions.txt [flags of streamkv ask] >answers.csv
#
# The seconds are those of the first piece of evidence.
set -euo pipefail
questions=$1
shift
echo '"question","answer","video","from","to"'
while IFS= read -r question || [ -n "$question" ]; do
    [ -n "$question" ] || continue
    streamkv ask "$question" --json "$@" </dev/null |
        jq -r '[.question, .answer, .evidence[0].video, .evidence[0].start, .evidence[0].end] | @csv'
done <"$questions"
