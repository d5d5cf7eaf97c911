#!/bin/sh
# Whether this machine, and the environment on it, are what they must be. Needs only sh to start; changes nothing.
#
#   sh src/samebench/doctor.sh    one finding a line: ok, remark, warning or failure, what was found and expected, what mends it
#
# Honoured: WITH=FILE (only what differs from a teammate's fingerprint), JSON=1 (one document), and what runtime.sh honours.
# Exit codes: 0 no failure, 1 a failure, 2 wrong use, 3 with WITH= there is no environment yet.
set -eu
cd "$(dirname "$0")/../.."

# tell STATUS NAME FOUND [EXPECTED [MEND]]
tell() { printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "${4:-}" "${5:-}"; }

# check STATUS NAME COMMAND…: what runtime.sh says of it; STATUS is how bad a refusal is, COMMAND tells what is there
check() {
    if said=$(CA_CERT='' SSL_CERT_FILE='' sh src/samebench/runtime.sh --check 2>&1); then
        shift
        name=$1
        shift
        tell ok "$name" "$("$@" 2>/dev/null | head -n 1)"
    else
        said=$(printf '%s' "$said" | tail -n 1 | sed 's/^samebench: [A-Z]*=[^:]*: //')
        tell "$1" "$2" "${said%%; *}" "" "${said#*; }"
    fi
}

# ---- this machine ----

engines() {
    for engine in docker podman; do
        case ${RUNTIME:-auto}:$engine in "$engine:$engine") grade=failure ;; auto:docker) grade=warning ;; *) grade=remark ;; esac
        GPU='' RUNTIME=$engine check $grade $engine $engine --version
    done
    docker info >/dev/null 2>&1 || return 0
    if said=$(docker buildx version 2>&1); then
        tell ok "docker buildx" "$(printf '%s' "$said" | cut -d ' ' -f 2)"
    else
        tell failure "docker buildx" "not here" "" "install docker-buildx (or docker-buildx-plugin), or RUNTIME=local"
    fi
}

# Asked for: must work. Not asked for: worth knowing.
gpu() {
    set -- nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
    case ${GPU:-} in
    '' | 0) if command -v nvidia-smi >/dev/null; then GPU=1 check warning GPU "$@"; else tell ok GPU "none asked for"; fi ;;
    *) check failure GPU "$@" ;;
    esac
}

python_for_local() {
    version=$(sed -n 's/^requires-python = "==\([0-9.]*\)\.\*".*/\1/p' pyproject.toml)
    for candidate in "python$version" python3; do
        case $("$candidate" --version 2>/dev/null) in "Python $version".*) tell ok python "$("$candidate" --version)" && return ;; esac
    done
    tell warning python "no Python $version" "one for RUNTIME=local" "install it; without it uv fetches one"
}

# room NAME DIRECTORY GIGABYTES MEND: what a workspace image with its build cache, or .venv with its downloads, take
room() {
    free=$(df -Pk "$2" 2>/dev/null | awk 'NR == 2 { print int($4 / 1000000) }') || free=
    [ -n "$free" ] || return 0
    if [ "$free" -ge "$3" ]; then tell ok "$1" "$free GB free"; else tell warning "$1" "$free GB free" "$3 GB" "$4"; fi
}

memory() {
    free=$(awk '/^MemAvailable/ { print int($2 / 1000000) }' /proc/meminfo 2>/dev/null) || return 0
    if [ "$free" -ge 2 ]; then tell ok memory "$free GB free"; else tell warning memory "$free GB free" "2 GB" "end other programs"; fi
}

ports() {
    [ -r /proc/net/tcp ] || return 0
    for port in 8888 6006 8000; do
        # The local address in hexadecimal, and 0A: somebody listens there.
        if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v "port=$(printf ':%04X$' $port)" '$4 == "0A" && $2 ~ port { found = 1 } END { exit !found }'; then
            tell warning "port $port" taken free "nothing: the next free one is taken, or choose with PORT="
        else
            tell ok "port $port" free
        fi
    done
}

proxies() {
    for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        eval "value=\${$name:-}"
        [ -z "$value" ] || tell ok "$name" "$(printf '%s' "$value" | sed 's|//[^@/]*@|//…@|')"
    done
    for name in CA_CERT SSL_CERT_FILE; do
        eval "value=\${$name:-}"
        if [ -z "$value" ]; then
            continue
        elif grep -q 'BEGIN CERTIFICATE' "$value" 2>/dev/null; then
            tell ok $name "holds certificates"
        else
            tell failure $name "$value: can't be read, or holds no certificate" "certificates in PEM" "unset $name, or give the right file"
        fi
    done
}

# Certificates and snapshots of packages are refused by a clock that is slow.
clock() {
    since=$(sed -n '1s/.* as of \([-0-9T:]*Z\)$/\1/p' requirements.lock)
    committed=$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null) || committed=
    now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    first=$(printf '%s\n' "$since" "$committed" "$now" | LC_ALL=C sort | tail -n 1)
    if [ "$first" = "$now" ]; then tell ok clock "$now"; else tell failure clock "$now" "later than $first" "set the clock (timedatectl set-ntp true)"; fi
}

checkout() {
    for directory in . data runs; do
        [ ! -d $directory ] || [ -w $directory ] || tell failure checkout "$directory is not writable for user $(id -u)" "yours" "chown -R $(id -u) $directory, as root"
    done
    git rev-parse --git-dir >/dev/null 2>&1 || return 0
    case ${GPU:-} in '' | 0) flavour=cpu ;; *) flavour=gpu ;; esac
    for input in requirements.lock docker/$flavour.lock docker/$flavour.Dockerfile; do
        git diff --quiet HEAD -- "$input" 2>/dev/null || [ $? != 1 ] || tell failure "$input" edited "as in commit $(git rev-parse --short HEAD)" "commit it, or git checkout HEAD -- $input"
    done
}

machine() {
    [ -n "${SAMEBENCH:-}" ] || { engines && gpu && python_for_local && ports; } # in there they are not ours to see
    room disk . 10 "free some room"
    [ ! -d /dev/shm ] || room "shared memory" /dev/shm 1 "give the container more (--shm-size 1g), or mount it larger"
    memory
    tell ok user "UID $(id -u)"
    proxies
    clock
    checkout
}

# ---- what is installed ----

inside() { if [ -n "${SAMEBENCH:-}" ]; then "$@"; else sh src/samebench/runtime.sh --as-is "$@"; fi; }

environment() {
    inside python -m samebench.doctor 2>"$work/said" || {
        said=$(tail -n 1 "$work/said" | sed 's/^samebench: //')
        case $said in # as runtime.sh --as-is says it
        no\ *" yet; "*) tell warning environment "${said%; *}" "" "${said##*; }" ;;
        *) tell failure environment "can't be looked at ($said)" ;;
        esac
    }
}

# ---- how it is shown ----

# Lines between tabs as text, or as one JSON document; 1 where one of them is a failure.
show() {
    if [ -n "${JSON:-}" ]; then escape='s/\\/\\\\/g; s/"/\\"/g'; else escape=; fi
    tr -d '\000-\010\013-\037' | sed "$escape" | awk -F '\t' -v "json=${JSON:-}" '
        BEGIN { if (json) printf "{\"findings\": [" }
        $1 == "failure" { bad = 1 }
        json {
            printf "%s\n  {\"status\": \"%s\", \"name\": \"%s\", \"found\": \"%s\", \"expected\": \"%s\", \"mend\": \"%s\"}", (NR > 1 ? "," : ""), $1, $2, $3, $4, $5
            next
        }
        { printf "%-8s %s: %s%s%s\n", $1, $2, $3, ($4 == "" ? "" : "; expected " $4), ($5 == "" ? "" : "; mend: " $5) }
        END { if (json) printf "\n], \"ok\": %s}\n", (bad ? "false" : "true"); exit bad }'
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -n "${WITH:-}" ]; then
    inside python -m samebench.doctor --with "$WITH" >"$work/lines"
    show <"$work/lines"
else
    { machine && environment; } | show
fi
