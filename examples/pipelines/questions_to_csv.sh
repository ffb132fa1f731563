#!/usr/bin/env bash
# Answer a list of questions, one a line, as CSV: question, answer, video, seconds from and to.
#
#   questions_to_csv.sh questions.txt [flags of streamkv ask] >answers.csv
#
# The model is loaded once. The seconds are those of the first piece of evidence.
set -euo pipefail
questions=$1
shift
echo '"question","answer","video","from","to"'
streamkv ask - --json "$@" <"$questions" |
    jq -r 'select(.type == "answer")
        | [.question, .answer, .evidence[0].video, .evidence[0].start, .evidence[0].end]
        | @csv'
