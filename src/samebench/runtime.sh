#!/bin/sh
# Runs a command in the runtime: docker, podman, or the local virtual environment. Nothing but sh is needed to start.
#
#   sh src/samebench/runtime.sh COMMAND…    prepares the runtime if need be, then becomes COMMAND in it
#   sh src/samebench/runtime.sh --carry COMMAND…
#                                           the same for a command that carries data: it may use the SSH agent, where a
#                                           remote of .dvc/config or DATA_REMOTE= is reached over SSH
#   sh src/samebench/runtime.sh --build     builds the image and says what it is; with CHECK=1 twice from nothing, and
#                                           compares; with EXPECT= a digest, or a fingerprint of a teammate's, too
#   sh src/samebench/runtime.sh --check     only checks that the runtime has what GPU= asks for
#   sh src/samebench/runtime.sh --devcontainer
#                                           for .devcontainer: the image of this checkout under the name samebench:cpu or
#                                           samebench:gpu, built if it is not there, and .env as a file for the engine
#   sh src/samebench/runtime.sh --serve PORT COMMAND…
#                                           the same for a server: publishes its PORT on the host's loopback, and no
#                                           container is left when it ends; `COMMAND --health` says how it is
#   sh src/samebench/runtime.sh --serve-image NAME PORT MODULE COMMAND…
#                                           runs COMMAND, whose last line begins with a folder; serves that by MODULE on
#                                           PORT, where there is an engine in an image NAME that is made of it, for
#                                           PLATFORM if given
#   sh src/samebench/runtime.sh --ship BUNDLE NAME COMMAND…
#                                           the same, but makes of that image what a partner gets: src/samebench/ship.sh
#   sh src/samebench/runtime.sh --ready COMMAND…
#                                           the same for git, which calls often: the runtime that is ready, and no word
#   sh src/samebench/runtime.sh --as-is COMMAND…
#                                           the same for who only looks: in the image or virtual environment that is there,
#                                           if of another state of the checkout; where there is none, code 3
#   sh src/samebench/runtime.sh --bootstrap COMMAND…
#                                           the same for what writes the locks, and so must not need this checkout's image or
#                                           virtual environment: src/samebench/bootstrap.sh, in any image that is there, else
#                                           in the first layers of it
#   sh src/samebench/runtime.sh --flow MODULE ARG…
#                                           runs the module that only looks, and tells it what the host knows:
#                                           src/samebench/flow.sh
#   sh src/samebench/runtime.sh --name [NAME FOLDER]
#                                           says what the workspace's image would be called, or the server's image
#                                           NAME of the artifact in FOLDER
#   sh src/samebench/runtime.sh --test-engine ARG…
#                                           where the runtime is an engine: runs the tests that drive it from outside
#
# Honoured: RUNTIME GPU CUDA_VISIBLE_DEVICES ELSEWHERE DATA DATA_REMOTE FROM INIT RESUME RUN WITH NOTE PORT OPEN PLATFORM KEY CHECK EXPECT JSON BASE_IMAGE
# CA_CERT WHEELHOUSE PIP_INDEX_URL TORCH_INDEX, proxies, what src/samebench/launch.py reads, and GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME beside it;
# and what .dvc/config says of where versions of the data are.
set -eu

say() { printf 'samebench: %s\n' "$*" >&2; }
fail() {
    code=$1
    shift
    say "$*"
    exit "$code"
}

LAUNCH='PROCS NPROC_PER_NODE NNODES NODE_RANK MASTER_ADDR MASTER_PORT JOB RESTARTS JOIN_TIMEOUT' # see launch.py
service= # the port of the server that is asked for
carry= # the command brings data from the team's remote, or takes it there
as_is= # nothing is built and nothing set up
bootstrap= # only Debian's Python is needed
quiet=${SAMEBENCH_QUIET:-} # not a word about the runtime
artifact= # the folder that is served
platform= # of its image, where it is not this machine's
builder= # the engine and its version
fresh= # --no-cache for a build from nothing

# GPU= asks for nothing, for all that there are, or for some by the numbers that nvidia-smi gives them.
wrong_gpu() { fail 2 "GPU=$GPU: give GPU=1 for all GPUs, or a list such as GPU=0,2 or GPU=2,"; }
flavour=gpu venv=.venv-gpu gpus=''
case ${GPU:-} in
'' | 0) flavour=cpu venv=.venv ;;
1 | all) gpus=${CUDA_VISIBLE_DEVICES:-all} ;;
*[!0-9,]* | ,* | *,,*) wrong_gpu ;;
*,*) gpus=${GPU%,} ;;
*) wrong_gpu ;; # GPU=2: the third, or two of them?
esac
seen=,
for each in $(printf '%s' "$gpus" | tr , ' '); do
    case $seen in *,$each,*) wrong_gpu ;; esac
    case ,${CUDA_VISIBLE_DEVICES:-$gpus}, in *,$each,*) ;; *) fail 2 "GPU=$GPU: $each is not in CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES; give GPU=1 for what is, or unset it" ;; esac
    seen=$seen$each,
done

# What the user has set for other tools serves here too, so that `make` alone works behind a proxy or without a network.
WHEELHOUSE=${WHEELHOUSE:-${PIP_FIND_LINKS:-}}
CA_CERT=${CA_CERT:-${SSL_CERT_FILE:-}}
[ -d "$WHEELHOUSE" ] || WHEELHOUSE='' # pip also takes addresses there; they are pip's business
[ -z "$CA_CERT" ] || [ -r "$CA_CERT" ] || fail 2 "CA_CERT=$CA_CERT: no such file"

# Whether an index or a proxy is given with a password or a token, which must not be shown.
has_credentials() {
    case "${PIP_INDEX_URL:-} ${TORCH_INDEX:-} ${UV_DEFAULT_INDEX:-} ${http_proxy:-} ${https_proxy:-} ${HTTP_PROXY:-} ${HTTPS_PROXY:-}" in
    *@*) ;;
    *) return 1 ;;
    esac
}
without_credentials() { sed 's|\(https*://\)[^/@[:space:]]*@|\1****@|g'; }

# hide COMMAND…: what it says goes to stderr, without credentials; its exit code.
hide() {
    if ! has_credentials; then
        "$@" >&2
        return
    fi
    ended=$(mktemp)
    { "$@" 2>&1 || echo $? >"$ended"; } | without_credentials >&2
    code=$(cat "$ended")
    rm -f "$ended"
    return "${code:-0}"
}

sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c "1-$1"; }

docker_answers() { docker info --format '{{.ServerVersion}}' 2>&1; }
podman_answers() { podman info --format '{{.Version.Version}}' 2>&1; }

# One line says which runtime was chosen and why. An engine must answer; its client alone is not enough.
choose_runtime() {
    reason=
    case ${RUNTIME:=auto} in
    local) reason="asked for" ;;
    docker | podman)
        command -v "$RUNTIME" >/dev/null || fail 3 "RUNTIME=$RUNTIME: no $RUNTIME on this machine; install it, or use RUNTIME=local"
        answer=$("${RUNTIME}_answers") || fail 3 "RUNTIME=$RUNTIME: the engine does not answer ($(printf '%s' "$answer" | tail -n 1)); start it, or use RUNTIME=local"
        reason="asked for, version $answer"
        ;;
    auto)
        for engine in docker podman; do
            if ! command -v $engine >/dev/null; then
                reason="${reason}no $engine, "
            elif answer=$(${engine}_answers); then
                RUNTIME=$engine reason="${reason}version $answer answers"
                break
            else
                reason="$reason$engine does not answer, "
            fi
        done
        [ "$RUNTIME" != auto ] || RUNTIME=local reason=${reason%, }
        ;;
    *) fail 2 "RUNTIME=$RUNTIME: give auto, docker, podman or local" ;;
    esac
    builder="$RUNTIME ${answer:-}"
    [ -n "$quiet" ] || say "runtime: $RUNTIME ($reason)"
}

# ---- the GPU ----

driver=580 # the least that CUDA 13 takes (NVIDIA, CUDA Compatibility, table 1); docker/gpu.lock has CUDA 13

# Refuses, before any work, what is certain not to be there. What only CUDA itself can tell is accelerator.py's affair.
check_gpu() {
    [ -n "$gpus" ] || return 0
    case ${CUDA_VISIBLE_DEVICES-all} in '' | -1) fail 3 "GPU=$GPU: no GPU is visible, CUDA_VISIBLE_DEVICES hides them all; unset it" ;; esac
    ! engine_is_elsewhere || return 0
    check_driver
    case $RUNTIME in docker) check_docker_toolkit ;; podman) check_podman_toolkit ;; esac
}

# On another machine, which has drivers of its own.
engine_is_elsewhere() {
    case $RUNTIME in
    docker) case $(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null) in http*://* | npipe://* | ssh://* | tcp://*) ;; *) return 1 ;; esac ;;
    podman) [ "$(podman info --format '{{.Host.ServiceIsRemote}}' 2>/dev/null)" = true ] ;;
    *) return 1 ;;
    esac
}

check_driver() {
    if ! command -v nvidia-smi >/dev/null; then
        # Debian packages it apart from the driver, and Windows' Linux keeps it off the path.
        [ -e /proc/driver/nvidia/version ] || [ -e /dev/dxg ] || fail 3 "GPU=$GPU: no NVIDIA driver on this machine; install version $driver or newer, or leave GPU out"
        return 0
    fi
    answer=$(nvidia-smi --query-gpu=index,driver_version --format=csv,noheader 2>&1) || case $answer in
    *"No devices"*) ;;
    *) fail 3 "GPU=$GPU: the NVIDIA driver does not answer ($(printf '%s' "$answer" | head -n 1)); install version $driver or newer, or reboot after an update" ;;
    esac
    case $answer in *"No devices"* | '') fail 3 "GPU=$GPU: no GPU is visible to nvidia-smi on this machine; leave GPU out, or take a machine that has one" ;; esac
    version=$(printf '%s\n' "$answer" | sed -n '1s/.*, *//p')
    case ${version%%.*} in
    '' | *[!0-9]*) ;; # another form than the one we know: not certain
    *) [ "${version%%.*}" -ge $driver ] || fail 3 "GPU=$GPU: the NVIDIA driver $version is too old for CUDA 13; install version $driver or newer" ;;
    esac
    there=$(printf '%s\n' "$answer" | sed -n 's/^\([0-9]*\),.*/\1/p' | tr '\n' ' ')
    for each in $(printf '%s' "$gpus" | tr , ' '); do
        case $each in *[!0-9]*) continue ;; esac # all, or a UUID
        case " $there" in *" $each "*) ;; *) fail 3 "GPU=$GPU: no GPU $each on this machine, nvidia-smi lists ${there% }; take one of these" ;; esac
    done
}

toolkit="install nvidia-container-toolkit"

check_docker_toolkit() {
    for program in nvidia-ctk nvidia-container-runtime-hook nvidia-container-toolkit; do
        ! command -v $program >/dev/null || return 0
    done
    # Docker Desktop has it in a machine of its own.
    case $(docker info --format '{{json .}}' 2>/dev/null) in *'"nvidia"'* | *nvidia.com/gpu* | *"Docker Desktop"*) return 0 ;; esac
    fail 3 "GPU=$GPU: the NVIDIA Container Toolkit is missing, without which docker hands over no GPU; $toolkit, then as root: nvidia-ctk runtime configure --runtime=docker, and restart docker"
}

check_podman_toolkit() {
    if ! grep -qs nvidia.com/gpu /etc/cdi/* /var/run/cdi/*; then
        describe="as root: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
        command -v nvidia-ctk >/dev/null || fail 3 "GPU=$GPU: the NVIDIA Container Toolkit is missing, without which podman hands over no GPU; $toolkit, then $describe"
        case $(nvidia-ctk cdi list 2>/dev/null) in
        *nvidia.com/gpu*) ;;
        *) fail 3 "GPU=$GPU: the NVIDIA Container Toolkit has not described the GPU to podman; $describe" ;;
        esac
    fi
}

# The engine's words for it.
handed_over() {
    case $gpus:$RUNTIME in
    :*) ;;
    all:docker) echo --gpus all ;;
    *:docker) echo "--gpus \"device=$gpus\"" ;; # quoted for docker itself, which reads a list of options there
    *:podman) for each in $(printf '%s' "$gpus" | tr , ' '); do echo "--device nvidia.com/gpu=$each"; done ;;
    esac
}

# ---- which is ready ----

# The runtime that starts soonest of those that need no setting up; where none is, `auto` decides as ever.
take_ready() {
    for flavour in cpu gpu; do
        [ $flavour = cpu ] && venv=.venv || venv=.venv-gpu
        if [ "$(cat $venv/samebench.stamp 2>/dev/null)" = "$(stamp)" ]; then
            RUNTIME=local
            return
        fi
    done
    for RUNTIME in docker podman; do
        command -v $RUNTIME >/dev/null || continue
        for flavour in cpu gpu; do
            name_image
            ! $RUNTIME image inspect "$image" >/dev/null 2>&1 || return 0
        done
    done
    RUNTIME=auto flavour=cpu venv=.venv
}

# ---- the image ----

# The image is named by what it is made from: a changed lock is a new name, two checkouts don't disturb each other.
name_image() {
    packages=
    [ -n "$artifact" ] || packages=$(debian_packages) ||
        fail 2 "pyproject.toml, [tool.samebench.image]: apt: $packages is no name of a Debian package; give a list such as apt = [\"libgl1\"]"
    inputs=$( (
        cat docker/$flavour.Dockerfile requirements.lock docker/$flavour.lock src/samebench/install.sh src/samebench/environment.py
        # shellcheck disable=SC2046 # names without spaces
        if [ -n "$artifact" ]; then cat .dockerignore "$artifact"/* $(served); else cat docker/nss_caller.c docker/profile.sh; fi
        printf '%s\n' "$packages"
        printf '%s' "$(cut_off)${BASE_IMAGE:-}"
    ) | sha256 12)${platform:+-${platform#linux/}}
    if [ -n "$artifact" ]; then image=$name:$inputs latest=$name:latest${platform:+-${platform#linux/}}; else image=samebench:$flavour-$inputs latest=samebench:$flavour; fi
}

# The Debian packages that pyproject.toml adds to the workspace, in one line; code 1 and the word that names none.
debian_packages() {
    LC_ALL=C awk '
        /^[[:space:]]*\[/ && !listing { section = /^[[:space:]]*\[tool\.samebench\.image\]/ }
        section && /^[[:space:]]*apt[[:space:]]*=/ { listing = 1; sub(/^[^=]*=/, "") }
        listing { sub(/#.*/, ""); text = text $0 " "; if (/\]/) listing = 0 }
        END {
            if (text !~ /^[[:space:]]*(\[[^][]*\][[:space:]]*)?$/) { print text; exit 1 }
            gsub(/^[[:space:]]*\[|\][[:space:]]*$/, "", text)
            count = split(text, names, ",")
            for (i = 1; i <= count; i++) {
                gsub(/^[[:space:]]+|[[:space:]]+$/, "", names[i])
                if (names[i] == "" && i == count) continue
                if (names[i] !~ /^("[a-z0-9][a-z0-9+.-]+"|\047[a-z0-9][a-z0-9+.-]+\047)$/) { print names[i]; exit 1 }
                packages = packages " " substr(names[i], 2, length(names[i]) - 2)
            }
            print substr(packages, 2)
        }' pyproject.toml
}

# Every file in an image bears one moment, so that its bits don't depend on the day. It is the one after which packages
# don't exist for our locks: the same in every checkout, however shallow, and without git.
cut_off() { sed -n 's/^exclude-newer = "\([^"]*\)".*/\1/p' pyproject.toml; }
epoch() { date -u -d "$(cut_off)" +%s 2>/dev/null || date -u -j -f %Y-%m-%dT%H:%M:%SZ "$(cut_off)" +%s; }

# What the image stands on, and who made it: with the checkout, all that its digest depends on.
base() {
    # shellcheck disable=SC2016 # the braces are the Dockerfile's
    pinned=$(sed -n 's/^FROM ${BASE_IMAGE:-\(.*\)}.*/\1/p' docker/$flavour.Dockerfile)
    [ -z "${BASE_IMAGE:-}" ] || pinned="$BASE_IMAGE sha256:$("$RUNTIME" image inspect --format "{{.Id}}" "$BASE_IMAGE" 2>/dev/null | sed "s/^sha256://")" || :
    echo "$pinned"
}

# The sources that go into the server's image.
# shellcheck disable=SC2046 # names without spaces
served() { find $(sed -n 's/^!\(src.*\)/\1/p' .dockerignore) -type f ! -path '*/__pycache__/*' | LC_ALL=C sort; }

build_image() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # Secrets, not build arguments: they leave no trace in the image or its history.
    # The step that reads them shows its commands, so they are switched off for these lines.
    for variable in PIP_INDEX_URL TORCH_INDEX; do
        eval "value=\${$variable:-}"
        [ -z "$value" ] || printf "{ set +x; } 2>/dev/null\nexport %s='%s'\nset -x\n" $variable "$(printf '%s' "$value" | sed "s/'/'\\\\''/g")" >>"$work/indexes"
    done
    set -- --file docker/$flavour.Dockerfile --tag "$latest" --tag "$image" "$@"
    [ ! -e "$work/indexes" ] || set -- "$@" --secret "id=indexes,src=$work/indexes"
    [ -z "$CA_CERT" ] || set -- "$@" --secret "id=ca,src=$CA_CERT"
    [ -z "$WHEELHOUSE" ] || set -- "$@" --build-context "wheelhouse=$WHEELHOUSE"
    [ -z "$artifact" ] || set -- "$@" --build-context "artifact=$artifact"
    [ -z "$platform" ] || set -- "$@" --platform "$platform"
    [ -z "${BASE_IMAGE:-}" ] || set -- "$@" --build-arg "BASE_IMAGE=$BASE_IMAGE"
    [ -z "$packages" ] || set -- "$@" --build-arg "DEBIAN_PACKAGES=$packages"
    for variable in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        eval "value=\${$variable:-}"
        [ -z "$value" ] || set -- "$@" --build-arg "$variable" # the engine takes the value from its own environment
    done
    set -- "$@" --build-arg "SOURCE_DATE_EPOCH=$(epoch)" ${fresh:+"$fresh"}
    say "building $image: minutes the first time, then seconds"
    if [ "$RUNTIME" = docker ]; then
        docker buildx version >/dev/null 2>&1 || fail 3 "docker has no buildx: install docker-buildx (or docker-buildx-plugin), or use RUNTIME=local"
        # The default builder of the context puts its image where `docker run` finds it; another may not. zstd: gzip takes
        # three times as long.
        BUILDX_BUILDER=$(docker context show 2>/dev/null || echo default)
        export BUILDX_BUILDER
        [ -w "${HOME:-/}" ] || export DOCKER_CONFIG="$work" # where buildx takes notes, for a user without a home
        set -- docker buildx build --provenance=false --output type=image,oci-mediatypes=true,compression=zstd,compression-level=3,force-compression=true "$@"
    else
        set -- podman build --timestamp "$(epoch)" "$@"
    fi
    hide "$@" . || fail 3 "the $flavour image could not be built (see above)"
    rm -rf "$work"
    [ -z "$artifact" ] || say "$image: $(unpacked) MB unpacked"
}

# Of every file in the image; what the engines call its size counts other things in every version of them.
unpacked() {
    # shellcheck disable=SC2086 # two words or none
    "$RUNTIME" run --rm ${platform:+--platform $platform} --user 0:0 --entrypoint du "$image" -sx --apparent-size --block-size=1000000 / | cut -f 1
}

ensure_image() {
    name_image
    if [ -n "${CHECK:-}" ]; then
        check_build
    elif [ -n "$bootstrap" ]; then
        take_any
    elif ! "$RUNTIME" image inspect "$image" >/dev/null 2>&1; then
        if [ -n "$as_is" ]; then take_latest; else build_image; fi
    fi
}

# The locks may be such that the image can't be made of them; its stage `system` is made before they are read.
take_any() {
    for image in "$image" "$latest" samebench:system; do
        ! "$RUNTIME" image inspect "$image" >/dev/null 2>&1 || return 0
    done
    latest=$image
    build_image --target system
}

take_latest() {
    image=$latest
    "$RUNTIME" image inspect "$image" >/dev/null 2>&1 || fail 3 "no image of the $flavour workspace yet; make build"
}

build() {
    begun=$(date +%s)
    name_image
    if [ -n "${CHECK:-}" ]; then check_build; else build_image; fi
    [ -z "${EXPECT:-}" ] || compare_image
    bytes=$("$RUNTIME" image inspect --format '{{.Size}}' "$image")
    printf 'samebench:%s  %s  %s  %s MB  %s s\n' $flavour "$image" "$(digest)" $((bytes / 1000000)) $(($(date +%s) - begun))
}

# Makes the image twice, both times from nothing; names the files that differ, if any do.
check_build() {
    fresh=--no-cache
    build_image
    made=$image first=$(digest) latest=$image-again image=$image-again
    build_image
    second=$(digest)
    if [ "$first" != "$second" ]; then
        say "not the same: $first, then $second; the first files that differ:"
        work=$(mktemp -d)
        trap 'rm -rf "$work"' EXIT
        for which in "$made first" "$image second"; do
            container=$("$RUNTIME" create "${which% *}" true)
            "$RUNTIME" export --output "$work/${which#* }.tar" "$container"
            "$RUNTIME" rm "$container" >/dev/null
        done
        "$RUNTIME" run --rm --network none --user 0:0 --entrypoint python --env PYTHONPATH=/src --mount "type=bind,\"source=$PWD/src\",target=/src,readonly" \
            --mount "type=bind,source=$work,target=/check,readonly" "$made" -m samebench.layers /check/first.tar /check/second.tar >&2 || :
    fi
    "$RUNTIME" rmi "$image" >/dev/null
    image=$made fresh=''
    [ "$first" = "$second" ] || exit 1
    say "made twice from nothing: $first both times, on $(base), by $builder"
}

# Whether this is a teammate's image, by its digest or by their `make fingerprint`, which tells what else it depends on.
compare_image() {
    case $EXPECT in
    sha256:*) expected=$EXPECT ;;
    *)
        [ -r "$EXPECT" ] || fail 2 "EXPECT=$EXPECT: no such file; give a digest (sha256:…), or what a teammate's make fingerprint has printed"
        expected=$(sed -n 's/^ *"image": "\(sha256:[0-9a-f]*\)".*/\1/p' "$EXPECT")
        [ -n "$expected" ] || fail 2 "EXPECT=$EXPECT: tells of no image; give what make fingerprint prints where an engine runs it"
        ;;
    esac
    if [ "$expected" = "$(digest)" ]; then
        say "as expected: $expected"
        return
    fi
    say "not as expected: $(digest), expected $expected; this one is on $(base), by $builder"
    [ "$expected" = "$EXPECT" ] || env RUNTIME="$RUNTIME" WITH="$EXPECT" EXPECT= CHECK= JSON= sh src/samebench/doctor.sh >&2 || :
    exit 1
}

digest() { printf 'sha256:%s' "$("$RUNTIME" image inspect --format '{{.Id}}' "$image" | sed 's/^sha256://')"; }

run_in_image() {
    ensure_image
    dotenv=
    [ -n "$as_is" ] || load_dotenv
    words="$* " check="$*"
    check="${check%% --*} --health" # without the server's options
    [ -z "$gpus" ] || set -- python -m samebench.accelerator "$@"
    set -- "$image" "$@"
    # Podman asks systemd for its checks, and refuses to start where there is none.
    if [ -n "$service" ] && { [ "$RUNTIME" = docker ] || [ -d /run/systemd/system ]; }; then
        set -- --health-cmd "$check" --health-interval 8s --health-timeout 5s --health-retries 2 "$@"
    fi
    [ -n "$service" ] && [ -z "${PACKAGES:-}" ] && indexes='' || indexes='TORCH_INDEX PIP_INDEX_URL UV_DEFAULT_INDEX' # with their tokens
    for variable in NOTE PACKAGES $LAUNCH GLOO_SOCKET_IFNAME NCCL_SOCKET_IFNAME $indexes http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        eval "[ -z \"\${$variable:-}\" ]" || set -- --env "$variable" "$@"
    done
    [ -z "$CA_CERT" ] || set -- --mount "type=bind,\"source=$(absolute "$CA_CERT")\",target=/tmp/ca.pem,readonly" --env SSL_CERT_FILE=/tmp/ca.pem "$@"
    # DVC is installed in there, when it is first needed.
    [ -z "$WHEELHOUSE" ] || set -- --mount "type=bind,\"source=$(absolute "$WHEELHOUSE")\",target=/tmp/wheelhouse,readonly" --env WHEELHOUSE=/tmp/wheelhouse "$@"
    for variable in $dotenv; do set -- --env "$variable" "$@"; done # by name: its value is the engine's client's alone
    [ -z "${DATA_REMOTE:-}" ] || set -- --env DATA_REMOTE "$@"
    check_remote
    case $words in *'samebench.versions push '* | 'bash ') remote='readonly=false' ;; *) remote='readonly' ;; esac
    while read -r rights place; do
        [ ! -d "$place" ] || set -- --mount "type=bind,\"source=$place\",\"target=$place\",$rights" "$@"
    done <<END
$(kept_at $remote)
END
    # The agent rather than the keys: what is in there can use it, and can't carry it away.
    if needs_agent; then
        [ ! -S "${SSH_AUTH_SOCK:-}" ] || set -- --mount "type=bind,\"source=$SSH_AUTH_SOCK\",target=/tmp/agent" --env SSH_AUTH_SOCK=/tmp/agent "$@"
        [ ! -f "${HOME:-}/.ssh/known_hosts" ] || set -- --mount "type=bind,\"source=$HOME/.ssh/known_hosts\",target=/tmp/.ssh/known_hosts,readonly" "$@"
    fi
    case $words in
    'bash ' | 'python -m samebench.notebook '*)
        write_identity
        set -- --env GIT_CONFIG_SYSTEM=/workspace/.samebench/git/system "$@"
        ;;
    esac
    ! is_trusted_of_another || set -- --env GIT_CONFIG_COUNT=1 --env GIT_CONFIG_KEY_0=safe.directory --env GIT_CONFIG_VALUE_0=/workspace "$@"
    find_repository
    [ -z "$repository" ] || set -- --mount "type=bind,\"source=$repository\",\"target=$repository\",readonly" \
        --mount "type=bind,\"source=$PWD/.samebench/git/file\",target=/workspace/.git,readonly" \
        --mount "type=bind,\"source=$PWD/.samebench/git/config\",\"target=$repository/config\",readonly" "$@"
    for variable in DATA FROM INIT RESUME RUN WITH; do
        eval "value=\${$variable:-}"
        # A table names files that lie beside it.
        [ $variable != FROM ] || [ ! -f "$value" ] || value=$(dirname "$value")
        case $value in
        / | /tmp | /tmp/) fail 2 "$variable=$value: all of it, in the place of the container's own; give a folder in there" ;;
        /*)
            mount=$(mount_of "$value")
            [ $variable != RESUME ] || mount=${mount%,readonly} # it is written on
            set -- --mount "$mount" "$@"
            ;;
        *) [ ! -e "$value" ] || stays_in $variable "$value" ;;
        esac
    done
    # Notebooks ask for it from a folder of their own; a name such as synthetic is no path.
    case ${DATA:-} in '' | /*) ;; *) [ ! -e "$DATA" ] || DATA=/workspace/$DATA ;; esac
    [ -z "${DATA:-}" ] || set -- --env "DATA=$DATA" "$@"
    [ -z "$gpus" ] || set -- --env GPU=1 "$@" # in there are only those that were chosen
    find_rootless
    # shellcheck disable=SC2046 # all give words without spaces
    set -- --init $(whose) $(groups) $(handed_over) --env "SAMEBENCH_RUNTIME=$RUNTIME" --env "SAMEBENCH_IMAGE=$(digest)" \
        --env "SAMEBENCH_BASE=$(base)" --env "SAMEBENCH_BUILDER=$builder" \
        --cap-drop ALL --security-opt no-new-privileges --pids-limit 4096 --shm-size 1g \
        --read-only --tmpfs /tmp:exec,mode=1777 --env HOME=/tmp --env USER=bench \
        --mount "type=bind,\"source=$PWD\",target=/workspace" "$@"
    # The processes of several machines reach each other on ports that they choose.
    [ "${NNODES:-1}" = 1 ] || set -- --network host "$@"
    [ -z "$service" ] || serve "$@"
    [ ! -t 0 ] || [ ! -t 1 ] || set -- --tty "$@"
    stay_with "$RUNTIME" run --rm --interactive "$@"
}

# Where the user says so, or a command carries data and a remote is reached over SSH.
needs_agent() {
    if [ -n "${AGENT:-}" ]; then
        [ -S "${SSH_AUTH_SOCK:-}" ] || fail 3 "AGENT=1: no SSH agent answers here; start one (eval \$(ssh-agent) && ssh-add), or leave AGENT out"
        return
    fi
    [ -n "$carry" ] && grep -qs '^[^#]*ssh://' .dvc/config .dvc/config.local - <<END
${DATA_REMOTE:-}
END
}

# For git in the user's own shell and JupyterLab: who commits, and the key's name. No program and no alias of the host.
write_identity() {
    writable .samebench .samebench/git
    rm -f .samebench/git/system
    printf '[include]\n\tpath = /etc/gitconfig\n' >.samebench/git/system
    for option in user.name user.email gpg.format user.signingKey; do
        value=$(git config --get $option 2>/dev/null) || continue
        [ $option != user.signingKey ] || value=$(public_key "$value")
        [ -z "$value" ] || git config --file .samebench/git/system $option "$value"
    done
}

# A signing key as git takes it without the file: that of an SSH key by the public key itself.
public_key() {
    case $(git config --get gpg.format || :):$1 in
    ssh:key::* | ssh:ssh-*) echo "$1" ;;
    ssh:*)
        file=$(git config --type path --get user.signingKey)
        file=${file%.pub}.pub
        [ ! -r "$file" ] || echo "key::$(head -n 1 "$file")"
        ;;
    *) echo "$1" ;;
    esac
}

# Whether the checkout belongs to another user, and the git of the host trusts it all the same (safe.directory).
is_trusted_of_another() {
    # shellcheck disable=SC2012 # a folder's owner as a number, which no other tool of POSIX says
    [ "$(ls -nd . | awk '{ print $3 }')" != "$(id -u)" ] && git rev-parse --git-dir >/dev/null 2>&1
}

# The repository of a worktree or a submodule, which lies out of the checkout: "" where it lies in .git, or there is none.
# The container reads it, by paths that are right in there, and can't change what is other checkouts', too.
find_repository() {
    repository=
    [ ! -d .git ] || return 0
    if ! folder=$(unset GIT_DIR GIT_COMMON_DIR GIT_WORK_TREE && git rev-parse --absolute-git-dir 2>/dev/null); then
        [ ! -e .git ] || say "git: the repository that $PWD/.git names is not there or not yours, so no commit is recorded; git status says more"
        return 0
    fi
    if [ ! -e .git ]; then
        say "git: $PWD is a folder in a repository, which the container does not see, so no commit is recorded; use RUNTIME=local, or a clone or submodule of its own"
        return 0
    fi
    writable .samebench
    mkdir -p .samebench/git
    repository=$(unset GIT_DIR GIT_COMMON_DIR GIT_WORK_TREE && cd "$(git rev-parse --git-common-dir)" && pwd -P)
    printf 'gitdir: %s\n' "$folder" >.samebench/git/file
    cp "$repository/config" .samebench/git/config
    # A submodule's repository names the checkout, by a path out here.
    ! git config --file .samebench/git/config core.worktree >/dev/null || git config --file .samebench/git/config --unset core.worktree
}

# The folders in which versions of the data are kept, by absolute paths: a cache, of this machine's word only, and a remote
# with these rights.
kept_at() {
    {
        named dir .dvc/config.local | sed 's/^/readonly=false /'
        {
            printf '%s\n' "${DATA_REMOTE:-}"
            named url .dvc/config .dvc/config.local
        } | sed "s/^/$1 /"
    } | grep ' /' | sort -u -k 2
}

# The values of a name in these of DVC's files, as samebench.dvc_config reads them: indented by whatever, in quotes or not,
# with a remark or not.
named() {
    option=$1
    shift
    sed -n "s/^[[:space:]]*$option *= *//p" "$@" 2>/dev/null |
        sed -e "/^[\"']/!s/#.*//" -e "s/^\([\"']\)\(.*\)\1[[:space:]]*#.*/\1\2\1/" -e "s/^[\"']//" -e "s/[\"'[:space:]]*\$//"
}

check_remote() {
    case ${DATA_REMOTE:-} in
    '' | *://*) ;;
    *)
        [ -d "$DATA_REMOTE" ] || fail 2 "DATA_REMOTE=$DATA_REMOTE: no such directory; make it first, or give ssh://user@host/path"
        case $DATA_REMOTE in /*) ;; *) stays_in DATA_REMOTE "$DATA_REMOTE" ;; esac
        ;;
    esac
}

# Has COMMAND make the artifact, in the runtime that was chosen; its last line begins with the artifact's folder.
make_artifact() {
    platform=${PLATFORM:-}
    case $platform in '' | linux/amd64 | linux/arm64) ;; *) fail 2 "PLATFORM=$platform: give linux/amd64 or linux/arm64, or nothing for this machine's" ;; esac
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    if [ -z "${SAMEBENCH:-}" ]; then
        [ "$RUNTIME" != local ] || [ -z "$platform" ] || fail 2 "PLATFORM=$platform: the local runtime has only this machine's; use docker or podman"
        set -- env SAMEBENCH_QUIET=1 CHECK= RUNTIME="$RUNTIME" sh src/samebench/runtime.sh --carry "$@"
    fi
    "$@" >"$work/said" || exit $?
    tail -n 1 "$work/said" >&2
    artifact=$(sed -n '$s/: .*//p' "$work/said")
    rm -rf "$work"
}

# Makes the artifact, then becomes its server: the image that partners get, or the same program where there is no engine.
serve_artifact() {
    name=$1 service=$2 module=$3
    shift 3
    [ -n "${SAMEBENCH:-}" ] || choose_runtime
    make_artifact "$@"
    export ARTIFACT="$artifact"
    if [ -n "${SAMEBENCH:-}" ]; then
        unset SAMEBENCH_PUBLISHED # another server's
        exec python -m "$module"
    fi
    [ "$RUNTIME" != local ] || run_locally python -m "$module"
    flavour=serve
    ensure_image
    set -- --env "SAMEBENCH_IMAGE=$(digest)" "$image"
    [ -z "$platform" ] || set -- --platform "$platform" "$@"
    [ -z "${API_KEY:-}" ] || set -- --env API_KEY "$@"
    [ -z "${KEEP_ALIVE:-}" ] || set -- --env KEEP_ALIVE "$@"
    find_rootless
    # shellcheck disable=SC2046 # gives words without spaces
    serve --init $(whose) --cap-drop ALL --security-opt no-new-privileges --pids-limit 128 --read-only "$@"
}

# Starts the server on the first free port, shows what it says, and ends it with us.
serve() {
    work=$(mktemp -d)
    container=
    trap '[ -z "$container" ] || "$RUNTIME" rm --force "$container" >/dev/null 2>&1; rm -rf "$work"' EXIT
    # dash leaves EXIT out where a signal ends it, so each signal gets a word; a closed terminal sends HUP, and again.
    trap 'trap "" HUP; container=$(cat "$work/id" 2>/dev/null) || :; exit 4' HUP INT TERM
    port=$PORT
    # A chosen token is refused in there, by its name.
    for variable in JUPYTER_TOKEN TOKEN; do
        eval "[ -z \"\${$variable+set}\" ]" || set -- --env "$variable=" "$@"
    done
    until container=$("$RUNTIME" run --detach --cidfile "$work/id" --publish "127.0.0.1:$port:$service" \
        --env "SAMEBENCH_PUBLISHED=$port" "$@" 2>"$work/error"); do
        container=$(cat "$work/id" 2>/dev/null) || container=
        [ -z "$container" ] || "$RUNTIME" rm --force "$container" >/dev/null 2>&1
        rm -f "$work/id"
        case $(cat "$work/error") in
        *"already allocated"* | *"already in use"*) say "port $port is taken, trying $((port + 1))" ;;
        *"Ports are not available"* | *"forbidden by its access permissions"* | *"bind: permission denied"*) say "port $port is reserved on this machine, trying $((port + 1))" ;;
        *) fail 3 "$RUNTIME did not start the server: $(cat "$work/error")" ;;
        esac
        port=$((port + 1))
        if [ $port -ge $((PORT + 50)) ] || [ $port -gt 65535 ]; then
            fail 3 "PORT=$PORT: taken, and so are the 49 after it; give another with PORT="
        fi
    done
    trap 'trap "" HUP; "$RUNTIME" stop --time 5 "$container" >/dev/null 2>&1' HUP INT TERM
    "$RUNTIME" logs --follow "$container" 2>&1 | while IFS= read -r line; do
        printf '%s\n' "$line"
        case ${OPEN:-}:$line in 1:*http://127.0.0.1*) open_browser "$line" ;; esac
    done &
    code=0
    wait $! || code=$?
    [ $code -lt 128 ] || wait || true # stopped by us: until its last words are out
    exit "$("$RUNTIME" inspect --format '{{.State.ExitCode}}' "$container" 2>/dev/null || echo 3)"
}

open_browser() {
    link=http${1#*http}
    for opener in xdg-open open; do
        if command -v $opener >/dev/null; then
            $opener "${link%% *}" >/dev/null 2>&1 &
            return
        fi
    done
    say "OPEN=1: no browser can be opened from here; the link is above"
}

# Waits for the engine's client, passing signals on, so that somebody is there to speak when the engine dies.
stay_with() {
    exec 3<&0 # a shell gives what it starts in the background no input; dash not even if asked with <&0
    "$@" <&3 3<&- &
    client=$!
    trap 'kill -TERM $client' TERM
    trap : INT # the client has it from the terminal, too
    while :; do
        code=0
        wait $client || code=$?
        kill -0 $client 2>/dev/null || break
    done
    [ "$code" != 125 ] || fail 3 "$RUNTIME did not start the container, or died while it ran (see above); try $RUNTIME info${gpus:+, nvidia-smi}, then the same command again"
    exit "$code"
}

find_rootless() {
    rootless=
    [ "$RUNTIME" = podman ] || case $(docker info --format '{{.SecurityOptions}}') in *name=rootless*) rootless=1 ;; esac
}

# What makes files that are written in there belong to the user out here.
whose() {
    if [ -n "$rootless" ]; then
        echo --user 0:0 # root in there is the user out here
    elif [ "$RUNTIME" = podman ] && [ "$(id -u)" != 0 ]; then
        echo --userns keep-id
    else
        echo --user "$(id -u):$(id -g)"
    fi
}

# The user's other groups, by which a team shares its folders. Rootless engines map none of them.
groups() {
    [ "$RUNTIME" = docker ] && [ -z "$rootless" ] && [ "$(id -u)" != 0 ] || return 0
    for each in $(id -G); do [ "$each" = "$(id -g)" ] || printf ' --group-add %s' "$each"; done
}

# An absolute path, under the name that the command is given. What lies elsewhere is read, as a teammate's receipt is.
mount_of() {
    source=$(absolute "$1")
    case $source/ in "$(pwd -P)"/*) readonly='' ;; *) readonly=,readonly ;; esac
    printf 'type=bind,"source=%s","target=%s"%s' "$source" "$1" "$readonly"
}

stays_in() {
    path=$(absolute "$2")
    case $path/ in "$(pwd -P)"/*) ;; *) fail 2 "$1=$2: out of the checkout, which is all that the container sees; give it absolute: $1=$path" ;; esac
}

absolute() {
    [ -e "$1" ] || fail 2 "$1: no such file or directory"
    if [ -d "$1" ]; then (cd "$1" && pwd -P); else printf '%s/%s' "$(cd "$(dirname "$1")" && pwd -P)" "$(basename "$1")"; fi
}

# ---- the local virtual environment ----

# Written last: a virtual environment without the right stamp is stale or unfinished, and another is made beside it.
stamp() { printf '%s %s' "$(cat requirements.lock docker/$flavour.lock src/samebench/install.sh | sha256 64)" "$PWD"; }
stamped() { [ "$(cat "$1/samebench.stamp" 2>/dev/null)" = "$(stamp)" ]; }

# Sets `environment` to the folder of the environment of these locks, and makes it if need be. $venv is a link to it, for
# editors. What runs, runs from the folder, so that no file is taken from it when the locks change.
ensure_venv() {
    environment=$venv
    if [ -n "$as_is" ]; then
        [ -x $venv/bin/python ] || fail 3 "no $venv yet; any command sets it up, such as make shell"
        return
    fi
    [ -L $venv ] || ! stamped $venv || return 0 # as an earlier edition made it
    environment=.venv-$(stamp | sha256 12)${venv#.venv}
    if ! stamped "$environment"; then
        writable "$environment"
        if command -v flock >/dev/null && [ -z "${SAMEBENCH_LOCKED:-}" ]; then
            # Two commands at once: the second waits, then finds everything done.
            [ $flavour = cpu ] && with=0 || with=1
            GPU=$with SAMEBENCH_LOCKED=1 RUNTIME=local flock $venv.lock sh src/samebench/runtime.sh true
            return
        fi
        make_venv
    fi
    [ "$(readlink $venv)" = "$environment" ] || take_venv
}

make_venv() {
    say "setting up $venv from the locks: about a minute the first time"
    [ ! -x $venv/bin/uv ] || { mkdir -p "$environment/bin" && cp $venv/bin/uv "$environment/bin/uv"; } # and none is fetched
    [ -z "$CA_CERT" ] || export SSL_CERT_FILE="$CA_CERT"
    hide env "WHEELHOUSE=$WHEELHOUSE" sh src/samebench/install.sh "$(find_python)" "$PWD/$environment" "$PWD/src" requirements.lock docker/$flavour.lock
    stamp >"$environment/samebench.stamp"
}

# Turns the link to the new environment; the others stay as long as something runs from them.
take_venv() {
    for old in $venv .venv-*"${venv#.venv}"; do
        case $old in "$environment" | *.lock) continue ;; esac
        [ "$venv" != .venv ] || case $old in *-gpu) continue ;; esac
        if [ -d "$old" ] && [ ! -L "$old" ] && ! in_use "$PWD/$old"; then rm -rf "$old"; fi
    done
    if [ -L $venv ] || [ ! -e $venv ]; then ln -sfn "$environment" $venv; fi
}

# Where no /proc says it, all are.
in_use() { [ ! -r /proc/self/maps ] || grep -qsF " $(cd "$1" && pwd -P)/" /proc/[0-9]*/maps; }

# The interpreter that pyproject.toml asks for; its bare version if this machine has none, so that uv looks further.
find_python() {
    version=$(sed -n 's/^requires-python = "==\([0-9.]*\)\.\*".*/\1/p' pyproject.toml)
    for candidate in "python$version" python3; do
        found=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2], sys._base_executable)' 2>/dev/null) || continue
        if [ "${found%% *}" = "$version" ]; then
            printf '%s' "${found#* }"
            return
        fi
    done
    printf '%s' "$version"
}

run_locally() {
    if [ -n "$bootstrap" ]; then
        [ -z "$CA_CERT" ] || export SSL_CERT_FILE="$CA_CERT"
        export WHEELHOUSE
        exec "$@"
    fi
    ensure_venv
    if [ -z "$as_is$artifact${SAMEBENCH_LOCKED:-}" ]; then load_dotenv; fi
    # The variables that change results stand once, in the image's ENV lines.
    while read -r instruction setting; do
        case $instruction:$setting in
        ENV:PATH=* | ENV:HOME=* | ENV:SHELL=* | ENV:EDITOR=*) ;; # the user has these
        ENV:*) export "${setting?}" ;;
        esac
    done <docker/$flavour.Dockerfile
    PATH=$PWD/$environment/bin:$PATH
    SAMEBENCH_RUNTIME=local
    export PATH SAMEBENCH_RUNTIME
    [ -z "$gpus" ] || set -- python -m samebench.accelerator "$@"
    unset PYTHONDONTWRITEBYTECODE # where it is set, torch takes twice as long to import and JupyterLab thrice to start
    exec "$@"
}

# ---- the way in ----

wrong_port() { fail 2 "PORT=$PORT: give a number from 1024 to 65535"; }
check_port() {
    case ${PORT:=$service} in [1-9][0-9][0-9][0-9] | [1-9][0-9][0-9][0-9][0-9]) ;; *) wrong_port ;; esac
    if [ "$PORT" -lt 1024 ] || [ "$PORT" -gt 65535 ]; then wrong_port; fi
}

writable() {
    for directory; do
        mkdir -p "$directory" 2>/dev/null || [ -d "$directory" ] || fail 3 "$PWD/$directory: can't be made here; make the checkout yours (chown), then run the same command again"
        [ -w "$directory" ] || fail 3 "$PWD/$directory: not writable; make it yours (chown), then run the same command again"
    done
}

cd "$(dirname "$0")/../.."
. src/samebench/dotenv.sh
case ${1:-} in
--build)
    choose_runtime
    [ -n "${ELSEWHERE:-}" ] || check_gpu # ELSEWHERE=1: the image is for other machines
    [ "$RUNTIME" != local ] || fail 3 "make build: no engine answers; install docker or podman, or work without one: RUNTIME=local needs no image"
    build
    ;;
--check)
    choose_runtime
    check_gpu
    ;;
--devcontainer)
    CHECK='' EXPECT=''
    [ "${RUNTIME:-}" != local ] || RUNTIME=auto # an editor's container needs an engine
    choose_runtime
    [ "$RUNTIME" != local ] || fail 3 "no engine answers, which a devcontainer needs; start docker or podman"
    check_gpu
    writable .samebench
    write_env_file .samebench/devcontainer.env
    ensure_image
    "$RUNTIME" tag "$image" "$latest"
    ;;
--serve)
    service=$2
    shift 2
    check_port
    choose_runtime
    check_gpu
    writable data runs .samebench
    if [ "$RUNTIME" = local ]; then run_locally "$@"; fi
    run_in_image "$@"
    ;;
--serve-image)
    shift
    service=$2
    check_port
    writable data runs
    serve_artifact "$@"
    ;;
--ship)
    shift
    writable data dist runs
    . src/samebench/ship.sh
    ship "$@"
    ;;
--flow)
    shift
    . src/samebench/flow.sh
    flow "$@"
    ;;
--name)
    [ $# = 1 ] || name=$2 artifact=$3 flavour=serve
    name_image
    printf '%s\n' "$image"
    ;;
--test-engine)
    shift
    choose_runtime 2>/dev/null
    [ "$RUNTIME" != local ] || exit 0 # there they were part of the whole
    say "the tests that drive the engine run beside it, in the local runtime"
    export SAMEBENCH_ENGINE="$RUNTIME"
    RUNTIME=local flavour=cpu venv=.venv gpus= # the GPU is not theirs
    run_locally pytest "$@"
    ;;
'') fail 2 "usage: sh src/samebench/runtime.sh COMMAND…" ;;
*)
    if [ "$1" = --ready ]; then
        shift
        quiet=1 gpus= # git needs none
        [ "${RUNTIME:-auto}" != auto ] || take_ready
    elif [ "$1" = --carry ]; then
        shift
        carry=1
    elif [ "$1" = --as-is ]; then
        shift
        as_is=1 quiet=1 gpus=
    elif [ "$1" = --bootstrap ]; then
        shift
        bootstrap=1 gpus=
        set -- sh src/samebench/bootstrap.sh "$@"
    fi
    if [ -n "${SAMEBENCH_LOCKED:-}" ]; then
        gpus='' # only sets up
    else
        choose_runtime
        check_gpu
    fi
    [ -n "$as_is" ] || writable data runs # made here, so that no engine makes them as root
    if [ "$RUNTIME" = local ]; then run_locally "$@"; else run_in_image "$@"; fi
    ;;
esac
