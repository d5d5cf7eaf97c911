#!/bin/sh
# What git calls: before a commit, and for each notebook on its way into the index. Nothing but git and sh is needed.
#
#   sh src/samebench/hook.sh install    copies the checks into .git/samebench and has git call the copy (`make hooks`)
#   hook.sh commit                      checks what is about to be committed
#   hook.sh strip                       a notebook from stdin to stdout, without outputs
#
# Git runs nothing of a checkout: a branch of a stranger may hold any file. So both run from the copy, which has the
# folders of a checkout.
set -eu

say() { printf 'samebench: %s\n' "$*" >&2; }

home=$(cd "$(dirname "$0")/../.." && pwd -P) # the copy, or the checkout

# Both are relative, so they mean the same on the host and in the container.
# shellcheck disable=SC2016 # for the shell that git starts
filter='set -- "$(git rev-parse --git-common-dir)/samebench/src/samebench/hook.sh"; [ -f "$1" ] || { echo "samebench: $1 is missing; make hooks writes it again" >&2; exit 1; }; sh "$1" strip'
# shellcheck disable=SC2016
call='sh "$(git rev-parse --git-common-dir)/samebench/src/samebench/hook.sh" commit'
hook='#!/bin/sh
# Written by make hooks; delete this file, and commits are no longer checked.
exec '$call
# As an earlier edition wrote it: it ran the script of whatever branch was checked out.
earlier='#!/bin/sh
# Written by make hooks; delete this file, and commits are no longer checked.
[ ! -e src/samebench/hook.sh ] || exec sh src/samebench/hook.sh commit'

# ---- make hooks ----

install() {
    cd "$home"
    if [ "$(git rev-parse --show-cdup 2>/dev/null || echo none)" != '' ]; then
        say "hooks: $(explain_no_clone)"
        return
    fi
    install_copy
    install_filter
    install_hook
    if [ -z "${SAMEBENCH:-}" ]; then
        sh src/samebench/runtime.sh --ready true || say "hooks: no runtime is ready (see above); until one is, commits are refused"
    fi
}

explain_no_clone() {
    answer=$(LC_ALL=C git rev-parse --git-dir 2>&1) || :
    case $answer in
    *'dubious ownership'*) echo "git does not trust $home, which belongs to another user; if you do: git config --global --add safe.directory '$home' && make hooks" ;;
    *'not a git repository: '*) echo "the repository that $home/.git names is not here, as this is a worktree or a submodule; commit on the host, or open the main clone" ;;
    *) echo "no git clone here, so there is nothing to set up" ;;
    esac
}

install_copy() {
    copy=$(git rev-parse --git-common-dir)/samebench
    new=$copy.new
    rm -rf "$new"
    mkdir -p "$new/src/samebench"
    cp .pre-commit-config.yaml pyproject.toml "$new"
    cp src/samebench/*.py src/samebench/hook.sh "$new/src/samebench"
    names_of_sources >"$new/names"
    if diff -r "$new/src" "$copy/src" >/dev/null 2>&1 && diff "$new/names" "$copy/names" >/dev/null 2>&1 &&
        diff "$new/pyproject.toml" "$copy/pyproject.toml" >/dev/null && diff "$new/.pre-commit-config.yaml" "$copy/.pre-commit-config.yaml" >/dev/null; then
        rm -rf "$new"
        say "hooks: the checks in $copy are those of this checkout"
        return
    fi
    rm -rf "$copy"
    mv "$new" "$copy"
    say "hooks: copied the checks of this checkout to $copy: git runs these, and nothing of a branch"
}

# Required: git takes in no notebook where the filter fails.
install_filter() {
    case $(git config --local filter.nbstripout.required || true) in true) ;; *) git config --local filter.nbstripout.required true ;; esac
    case $(git config --local filter.nbstripout.clean || true) in
    "$filter")
        say "hooks: the notebook filter is already there"
        return
        ;;
    *src/samebench/hook.sh*) say "hooks: replaced the notebook filter, which ran a script of the branch" ;;
    *) say "hooks: set the notebook filter: git add leaves outputs out, and your files keep them" ;;
    esac
    git config --local filter.nbstripout.clean "$filter"
    git config --local filter.nbstripout.smudge cat
}

install_hook() {
    path=$(git rev-parse --git-path hooks)/pre-commit
    if [ -n "$(git config core.hooksPath || true)" ]; then
        say "hooks: core.hooksPath is set to $(git config core.hooksPath), so no hook was written; call this from your own: $call"
    elif [ ! -e "$path" ]; then
        write_hook
        say "hooks: wrote $path: every commit is checked"
    elif [ "$(cat "$path")" = "$earlier" ]; then
        write_hook
        say "hooks: replaced $path, which ran a script of the branch"
    elif [ "$(cat "$path")" = "$hook" ]; then
        say "hooks: $path is already there"
    elif grep -qF "$call" "$path"; then
        say "hooks: $path is your own and calls the checks"
    else
        say "hooks: $path is your own and was kept; add this line to it: $call"
    fi
}

write_hook() {
    mkdir -p "$(dirname "$path")"
    printf '%s\n' "$hook" >"$path"
    chmod +x "$path"
}

# The environments have src/ on Python's path: a new name in there could stand in for a package that is missing.
# shellcheck disable=SC2012 # any name that differs is enough
names_of_sources() { LC_ALL=C ls -A src 2>/dev/null | sed '/^__pycache__$/d'; }

# ---- a notebook ----

# By a Python that can't be the branch's. Where it fails, so does git add.
strip() {
    python=$(find_python)
    if [ -z "$python" ]; then
        pass_stripped
    elif ! "$python" -I -S "$home/src/samebench/notebook_outputs.py"; then
        say "the notebook was not added: $python could not strip it (see above); mend that Python, or run git add in make shell"
        exit 1
    fi
}

# Without a Python: a notebook that has nothing to strip passes. git status asks for it, too.
# The names are those of notebook_outputs.py.
pass_stripped() {
    file=$(mktemp)
    trap 'rm -f "$file"' EXIT
    cat >"$file"
    names='language_info|signature|widgets|ExecuteTime|collapsed|execution|heading_collapsed|hidden|scrolled'
    marks='"outputs":\[[^]]|"(execution_count|prompt_number)":[^n]|"('$names')":'
    code=0
    tr -d ' \t\r\n' <"$file" | LC_ALL=C grep -qE "$marks" || code=$?
    if [ $code != 1 ]; then
        say "the notebook was not added: it has outputs, or the marks of a run, and no python3 is here to strip them; install python3, or run git add in make shell"
        exit 1
    fi
    cat "$file"
}

find_python() {
    top=$(pwd -P)
    set -f
    IFS=:
    for folder in /usr/bin $PATH; do
        [ -x "$folder/python3" ] || continue
        case $folder in /*) ;; *) continue ;; esac
        case $(cd "$folder" && pwd -P)/ in "$top"/*) continue ;; esac
        printf '%s' "$folder/python3"
        return
    done
}

# ---- a commit ----

# A copy of the index is checked, not the working tree, which may hold more than is committed, and outputs.
commit() {
    [ -e src/samebench/hook.sh ] || return 0 # a branch without us
    [ "$home" != "$(pwd -P)" ] || say "this clone's hook runs the scripts of the branch: make hooks, once, mends that"
    staged=$(git rev-parse --git-path samebench/staged)
    case $staged in /*) ;; *) staged=$(pwd -P)/$staged ;; esac
    rm -rf "$staged"
    mkdir -p "$staged/tree"
    git diff --cached --name-only --diff-filter=d --no-renames -z >"$staged/names"
    [ -s "$staged/names" ] || return 0
    git checkout-index --all --prefix="$staged/tree/"
    code=0
    lint >"$staged/said" 2>&1 || code=$?
    case $code in
    0) return ;;
    1) grep -v -E '(Passed|Skipped)$' "$staged/said" >&2 && say "not committed: mend the above, git add, and commit again" ;;
    *) cat "$staged/said" >&2 && say "not committed, because it could not be checked (see above): mend that, then commit again" ;;
    esac
    exit 1
}

# In the environment that is there: this one, the local one, or an engine's image. Nothing is built, nothing set up.
lint() {
    if [ -n "${SAMEBENCH:-}" ]; then
        lint_with "$(command -v python)"
        return
    fi
    for python in .venv/bin/python .venv-gpu/bin/python; do
        if [ -x $python ]; then
            lint_with "$(pwd -P)/$python"
            return
        fi
    done
    for engine in docker podman; do
        for image in samebench:cpu samebench:gpu; do
            if "$engine" image inspect $image >/dev/null 2>&1; then
                lint_in_image
                return
            fi
        done
    done
    say "no environment yet; make shell sets it up"
    return 3
}

lint_with() {
    if [ -n "$(git ls-files -- '.venv*')" ]; then
        say "this branch has files in .venv, where the programs are that check; git rm -r --cached them, then run make clean and make shell"
        return 2
    fi
    if [ "$home" != "$(pwd -P)" ] && [ "$(names_of_sources)" != "$(cat "$home/names")" ]; then
        say "src/ has other names in it than when make hooks was run; if you trust this branch, run make hooks"
        return 2
    fi
    PATH=$(dirname "$1"):$PATH PYTHONPATH=$home/src PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 \
        "$1" -m samebench.lint "$staged/tree" "$staged/names"
}

# The container sees the copy of the checks and what is staged, and nothing else of the machine.
lint_in_image() {
    set -- --user "$(id -u):$(id -g)"
    if [ "$engine" = podman ]; then
        [ "$(id -u)" = 0 ] || set -- --userns keep-id
    else
        case $(docker info --format '{{.SecurityOptions}}') in *name=rootless*) set -- --user 0:0 ;; esac
    fi
    "$engine" run --rm --init "$@" --network none --cap-drop ALL --security-opt no-new-privileges \
        --read-only --tmpfs /tmp:exec,mode=1777 --env HOME=/tmp --env USER=bench \
        --mount "type=bind,\"source=$home\",target=/bench" --mount "type=bind,\"source=$staged\",target=/staged" \
        --env PYTHONPATH=/bench/src --env PYTHONSAFEPATH=1 --env PYTHONDONTWRITEBYTECODE=1 --workdir /bench \
        $image python -m samebench.lint /staged/tree /staged/names
}

case ${1:-} in
install) install ;;
commit) commit ;;
strip) strip ;;
*)
    say "usage: sh src/samebench/hook.sh install, commit or strip"
    exit 2
    ;;
esac
