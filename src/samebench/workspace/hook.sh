#!/bin/sh
# What git calls: before a commit, and for notebooks on their way into the index. It runs from the copy that `make hooks`
# puts into .git/samebench-hooks, and starts a Python that can't be the branch's.
#
#   hook.sh commit    checks what is about to be committed
#   hook.sh filter    takes the outputs out of notebooks, by git's protocol
set -eu

fail() {
    printf 'samebench: %s\n' "$*" >&2
    exit 1
}

folder=$(cd "$(dirname "$0")" && pwd -P)

find_python() {
    top=$(pwd -P)
    set -f
    IFS=:
    for place in /usr/bin $PATH; do
        [ -x "$place/python3" ] || continue
        case $place in /*) ;; *) continue ;; esac
        case $(cd "$place" && pwd -P)/ in "$top"/*) continue ;; esac
        "$place/python3" -I -S -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || continue
        printf '%s' "$place/python3"
        return
    done
}

python=$(find_python)
case ${1:-} in
filter)
    [ -n "$python" ] || fail "no notebook was added or compared: no python3 is here to strip outputs; install Python 3.9 or newer"
    exec "$python" -I -S "$folder/notebook_outputs.py"
    ;;
commit)
    [ -n "$python" ] || fail "not committed, because no python3 is here to check it; install Python 3.9 or newer"
    exec "$python" -I "$folder/../host" --commit
    ;;
*)
    echo "samebench: usage: sh src/samebench/workspace/hook.sh commit or filter" >&2
    exit 2
    ;;
esac
