#!/bin/sh
# What git calls: before a commit, and for each notebook on its way into the index. Nothing but git and sh is needed.
#
#   sh src/samebench/hook.sh install    sets both up in this clone (`make hooks`), and says what it did
#   sh src/samebench/hook.sh commit     checks what is about to be committed
#   sh src/samebench/hook.sh strip      a notebook from stdin to stdout, without outputs
set -eu

say() { printf 'samebench: %s\n' "$*" >&2; }
bench() { if [ -n "${SAMEBENCH:-}" ]; then "$@"; else sh src/samebench/runtime.sh --ready "$@"; fi; }

# Both names are relative, so they mean the same on the host and in the container; a branch without us is left alone.
filter='if [ -e src/samebench/hook.sh ]; then sh src/samebench/hook.sh strip; else cat; fi'
hook='#!/bin/sh
# Written by make hooks; delete this file, and commits are no longer checked.
[ ! -e src/samebench/hook.sh ] || exec sh src/samebench/hook.sh commit'

install() {
    if [ "$(git rev-parse --show-cdup 2>/dev/null || echo none)" != '' ]; then
        say "hooks: no git clone here, so there is nothing to set up"
        return
    fi
    install_filter
    install_hook
    bench true || say "hooks: no runtime is ready (see above); until one is, commits are refused"
}

install_filter() {
    if [ "$(git config --local filter.nbstripout.clean || true)" = "$filter" ]; then
        say "hooks: the notebook filter is already there"
        return
    fi
    git config --local filter.nbstripout.clean "$filter"
    git config --local filter.nbstripout.smudge cat
    say "hooks: set the notebook filter: git add leaves outputs out, and your files keep them"
}

install_hook() {
    path=$(git rev-parse --git-path hooks)/pre-commit
    if [ -n "$(git config core.hooksPath || true)" ]; then
        say "hooks: core.hooksPath is set to $(git config core.hooksPath), so no hook was written; call this from your own: sh src/samebench/hook.sh commit"
    elif [ ! -e "$path" ]; then
        mkdir -p "$(dirname "$path")"
        printf '%s\n' "$hook" >"$path"
        chmod +x "$path"
        say "hooks: wrote $path: every commit is checked"
    elif [ "$(cat "$path")" = "$hook" ]; then
        say "hooks: $path is already there"
    else
        say "hooks: $path is your own and was kept; add this line to it: sh src/samebench/hook.sh commit"
    fi
}

# A copy of the index is checked, not the working tree, which may hold more than is committed, and outputs.
commit() {
    rm -rf .samebench/staged
    mkdir -p .samebench/staged
    git diff --cached --name-only --diff-filter=d --no-renames -z >.samebench/staged.names
    [ -s .samebench/staged.names ] || return 0
    git checkout-index --all --prefix=.samebench/staged/
    code=0
    bench python -m samebench.lint .samebench/staged .samebench/staged.names >.samebench/staged.said || code=$?
    case $code in
    0) return ;;
    1) grep -v -E '(Passed|Skipped)$' .samebench/staged.said >&2 && say "not committed: mend the above, git add, and commit again" ;;
    *) cat .samebench/staged.said >&2 && say "not committed, because it could not be checked (see above): mend that, or commit unchecked with --no-verify" ;;
    esac
    exit 1
}

cd "$(dirname "$0")/../.."
case ${1:-} in
install) install ;;
commit) commit ;;
strip) bench python -m samebench.checks --strip ;;
*)
    say "usage: sh src/samebench/hook.sh install, commit or strip"
    exit 2
    ;;
esac
