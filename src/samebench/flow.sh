# Shows the steps from data to bundle. Read by runtime.sh, whose functions it uses.
#
# The host's part: which runtime there is, which images and which virtual environment. What the steps are is the affair of
# the project's module, which gets that on stdin; it needs no more than Python, so the host's will do where nothing is set up.
# shellcheck shell=sh disable=SC2034,SC2154 # variables that runtime.sh sets or reads

flow() {
    as_is=1 quiet=1 gpus=''
    if [ -n "${SAMEBENCH:-}" ]; then RUNTIME=here; else choose_runtime; fi
    name_image
    set -- python -m "$@"
    [ -z "${JSON:-}" ] || set -- "$@" --json
    told=$(host_knows)
    case $RUNTIME in
    here) printf '%s\n' "$told" | "$@" ;;
    local) if [ -x "$venv/bin/python" ]; then printf '%s\n' "$told" | run_locally "$@"; else with_any_python "$@"; fi ;;
    *)
        case $told in
        *"there $image "* | *"there $latest "*) printf '%s\n' "$told" | run_in_image "$@" ;;
        *) with_any_python "$@" ;;
        esac
        ;;
    esac
}

# A word and its value a line, as samebench.flow.Host reads it.
host_knows() {
    printf 'runtime %s\nflavour %s\nimage %s\nstamp %s\nbase %s\n' "$RUNTIME" "$flavour" "$image" "$(stamp)" "${BASE_IMAGE:-}"
    case $RUNTIME in
    docker | podman) "$RUNTIME" images --no-trunc --format 'there {{.Repository}}:{{.Tag}} {{.ID}}' | sed 's|^there localhost/|there |' ;;
    esac
}

with_any_python() {
    shift
    python=$(find_python)
    [ -x "$python" ] || fail 3 "make flow: nothing is set up yet that could draw, and there is no Python $python; make build"
    export PYTHONPATH=src PYTHONDONTWRITEBYTECODE=1
    printf '%s\n' "$told" | "$python" "$@"
}
