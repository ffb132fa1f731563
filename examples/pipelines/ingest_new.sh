#!/usr/bin/env bash
# Ingest what is new in a folder: for cron.
#
#   */10 * * * *  STREAMKV_MODEL=demo /path/to/ingest_new.sh /data/films /data/streamkv
#
# Files that changed in the last minutes are left for the next run: they may still be copied here.
# Done videos are skipped by their content, so nothing is kept of what was done, and a file may be
# renamed or moved. A run that finds the last one still at work leaves it alone.
set -euo pipefail
folder=$1
export STREAMKV_STORE=${2:-${STREAMKV_STORE:?name a store}}
quiet_minutes=${QUIET_MINUTES:-2}

mkdir -p "$STREAMKV_STORE.state"
exec 9>"$STREAMKV_STORE.state/lock"
flock --nonblock 9 || exit 0

new=$(mktemp)
trap 'rm -f "$new"' EXIT
find "$folder" -type f -mmin "+$quiet_minutes" \
    \( -iname '*.mp4' -o -iname '*.mkv' -o -iname '*.mov' -o -iname '*.avi' -o -iname '*.ts' \) \
    -print0 | sort --zero-terminated >"$new"
[ -s "$new" ] || exit 0

# --quiet: cron mails what is printed, and only warnings and errors are worth a mail.
streamkv ingest -0 - --quiet --tag "folder=$(basename "$folder")" <"$new"
