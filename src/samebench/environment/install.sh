#!/bin/sh
# Installs locked wheels into a fresh virtual environment. The images and the local runtime both come this way.
#
#   sh src/samebench/environment/install.sh PYTHON VENV SOURCES LOCK…
#   sh src/samebench/environment/install.sh --uv FOLDER   only puts the pinned uv into FOLDER
#
# PYTHON   the interpreter, or a bare version: the one that uv finds or fetches
# SOURCES  the folder that holds our packages; made importable
# LOCK     requirements.lock and docker/cpu.lock, say; uv itself always comes from the former
#
# Honoured: WHEELHOUSE (a directory of wheels, asked first), PIP_INDEX_URL, TORCH_INDEX, SSL_CERT_FILE, proxies.
# Every file is held against its hash before anything of it is unpacked, wherever it came from.
set -eu

tools=
if [ "$1" = --uv ]; then
    tools=$2
    set -- python3 "$PWD/.venv" -
fi
python=$1 venv=$2 sources=$3
shift 3
: "${TORCH_INDEX:=https://download.pytorch.org/whl/cpu}"
wheelhouse=${WHEELHOUSE:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 4' INT TERM

fail() {
    printf 'samebench: %s\n' "$2" >&2
    exit "$1"
}

# pip is needed once, to fetch uv: the interpreter's own, or the one that Debian and Ubuntu package as a wheel.
pip() {
    if PYTHONPATH='' "$host_python" -m pip --version >/dev/null 2>&1; then # src/pip.py is no pip
        PYTHONPATH='' "$host_python" -m pip "$@"
    else
        set -- "$(pip_wheel)/pip" "$@"
        "$host_python" "$@"
    fi
}

pip_wheel() {
    for wheel in /usr/share/python-wheels/pip-*.whl "$work"/usr/share/python-wheels/pip-*.whl; do
        if [ -e "$wheel" ]; then
            printf '%s' "$wheel"
            return
        fi
    done
    command -v apt-get >/dev/null || fail 3 "no pip for $host_python: install pip, then run the same command again"
    ( # as an ordinary user: apt's lists may be missing and its directories are not ours
        cd "$work"
        mkdir -p lists/partial cache/archives/partial
        set -- -qq -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root
        apt-get download -qq python3-pip-whl || { apt-get "$@" update && apt-get "$@" download python3-pip-whl; }
        dpkg-deb -x python3-pip-whl_*.deb .
    ) >"$work/apt.log" 2>&1 || {
        cat "$work/apt.log" >&2
        fail 3 "no pip for $host_python, and apt could not fetch one: install python3-pip, then run the same command again"
    }
    printf '%s' "$work"/usr/share/python-wheels/pip-*.whl
}

# uv stands in requirements.lock like everything else; only its own lines are used here.
fetch_uv() {
    awk '/^uv==/ { wanted = 1 } wanted { print } wanted && !/\\$/ { exit }' requirements.lock >"$work/uv.lock"
    version=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' "$work/uv.lock")
    if "$venv/bin/uv" --version 2>/dev/null | grep -q "^uv $version\( \|$\)"; then
        mkdir "$work/bin" && cp "$venv/bin/uv" "$work/bin/uv"
        return
    fi
    set -- --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary :all: --require-hashes
    if [ -n "$wheelhouse" ]; then
        set -- "$@" --find-links "$wheelhouse"
        ! ls "$wheelhouse/uv-$version"-*.whl >/dev/null 2>&1 || set -- "$@" --no-index
    fi
    [ -z "${SSL_CERT_FILE:-}" ] || export PIP_CERT="$SSL_CERT_FILE"
    # A user's own settings of pip (require-virtualenv, user) would refuse this call.
    export PIP_ROOT_USER_ACTION=ignore PIP_REQUIRE_VIRTUALENV=0 PIP_USER=0
    pip install "$@" --target "$work" --requirement "$work/uv.lock" ||
        fail 3 "uv $version could not be installed by hash (see above); behind a mirror set PIP_INDEX_URL, without a network WHEELHOUSE"
}

host_python=$python
[ "$python" != "${python#*[!0-9.]}" ] || host_python=python3
fetch_uv
if [ -n "$tools" ]; then
    mkdir -p "$tools"
    cp "$work/bin/uv" "$tools/uv.$$"
    mv "$tools/uv.$$" "$tools/uv"
    exit
fi
uv() {
    "$work/bin/uv" --no-config --quiet "$@"
}

[ -w "${HOME:-/}" ] || export UV_CACHE_DIR="$work/cache" # a user without a home
export UV_LINK_MODE=copy # a link into uv's cache would let one checkout's edit of a package reach all others
[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"
rm -rf "$venv" # also what an interrupted set-up has left, which uv would not touch
uv venv --no-project --python "$python" "$venv" ||
    fail 3 "$venv: no environment with Python $python (see above); if it is missing, install it (Debian 12: apt-get install python3), then run the same command again"

# wheels LOCK INDEX…: only from the wheelhouse if it holds all of them, else from it and the index.
wheels() {
    file=$1
    shift
    set -- --python "$venv" --no-deps --only-binary :all: --require-hashes --requirement "$file" "$@"
    if [ -n "$wheelhouse" ]; then
        set -- "$@" --find-links "$wheelhouse"
        ! uv pip install --dry-run --no-index "$@" 2>/dev/null || set -- "$@" --no-index
    fi
    uv pip install "$@" ||
        fail 3 "$file could not be installed (see above); behind a mirror set PIP_INDEX_URL and TORCH_INDEX, without a network WHEELHOUSE"
}

for lock; do
    # PyTorch's index carries old copies of common packages, so it is asked for torch and for nothing else.
    if grep -q '+cpu' "$lock" && [ "$(uname -s)" = Linux ]; then
        # By the environment: every user of a machine can read a command line, and an address can have a token.
        (export UV_DEFAULT_INDEX="$TORCH_INDEX" && wheels "$lock")
    else
        wheels "$lock"
    fi
done

# There is no pip: in a workspace src/pip.py answers in its place.
for name in pip pip3; do
    [ "$lock" != docker/serve.lock ] || continue
    # shellcheck disable=SC2016 # expanded when it runs
    printf '#!/bin/sh\nexec "${0%%/*}/python" -m pip "$@"\n' >"$venv/bin/$name"
    chmod 755 "$venv/bin/$name"
done
printf '%s\n' "$sources" >"$(echo "$venv"/lib/python3*/site-packages)/samebench.pth"
rm -f "$venv/.lock" # uv leaves it writable to all
# Of a wheel from a wheelhouse uv notes when it came to lie there, which is the machine's affair and in no image.
for note in "$venv"/lib/python3*/site-packages/*.dist-info/uv_cache.json; do
    [ -e "$note" ] || continue
    record=${note%/*}/RECORD
    grep -v '/uv_cache\.json,' "$record" >"$work/record"
    cat "$work/record" >"$record"
    rm "$note"
done

# What nobody here opens: programs that test torch and an old protoc, onnxruntime for C (Python's has all of it inside),
# tests of the packages themselves. RECORD does not list them, so that a fingerprint is the same in every runtime.
[ "$lock" = docker/serve.lock ] || (
    cd "$venv"/lib/python3*/site-packages
    set -- torch/test torch/bin/test_* torch/bin/*Test torch/bin/protoc* onnxruntime/capi/libonnxruntime.so.*
    set -- "$@" matplotlib/tests mpmath/tests mypy/test networkx/tests networkx/*/tests networkx/*/*/tests numpy/tests numpy/*/tests
    set -- "$@" onnx/backend/test/data sympy/*/tests sympy/*/*/tests sympy/*/*/*/tests tornado/test
    rm -rf "$@"
    printf '^%s[/,]\n' "$@" | sed 's/[.+*]/[&]/g' >"$work/absent"
    grep -l -f "$work/absent" ./*.dist-info/RECORD | while read -r record; do
        grep -v -f "$work/absent" "$record" >"$work/record"
        cat "$work/record" >"$record"
    done
)
uv pip check --python "$venv" || fail 2 "the locks contradict each other (see above): run make lock"
[ "$lock" = docker/serve.lock ] || "$venv/bin/python" -c 'import torch; print("samebench: torch", torch.__version__, "imports")' >&2
