#!/bin/sh
# Runs a command with the pinned Python and the pinned uv, and with nothing that the locks install: what writes the locks
# must work when the locks are what is broken.
#
#   sh src/samebench/bootstrap.sh python -m samebench.lock
#
# uv is the one on PATH if it has the version of requirements.lock; else it is fetched by its hash into .samebench/.
set -eu
cd "$(dirname "$0")/../.."

version=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.lock)
python=$(sed -n 's/^requires-python = "==\([0-9.]*\)\.\*".*/\1/p' pyproject.toml)
[ -n "$version" ] || {
    echo "samebench: requirements.lock: no line uv==VERSION; git checkout requirements.lock, then run the same command again" >&2
    exit 2
}

is_pinned() { "$1" --version 2>/dev/null | grep -q "^uv $version\( \|$\)"; }
if ! is_pinned uv; then
    tools=$PWD/.samebench/uv-$version-$(uname -sm | tr ' ' -)
    is_pinned "$tools/uv" || sh src/samebench/install.sh --uv "$tools"
    PATH=$tools:$PATH
fi
[ -w "${HOME:-/}" ] || export UV_CACHE_DIR="$PWD/.samebench/uv-cache" # a user without a home
export PATH PYTHONPATH="$PWD/src"
exec uv run --isolated --no-project --quiet --python "$python" "$@"
