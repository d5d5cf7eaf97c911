# shellcheck shell=sh
# Reads .env, a file of the user's own variables beside the Makefile: NAME=value, one a line. Sourced by runtime.sh.

# What decides what make does, where and with what it runs, who may come in, and what comes out. It is set in the shell or
# on make's command line, where it is seen.
is_reserved() {
    case $1 in
    # The variables of the Makefile; a test compares them.
    A | AGENT | API_KEY | ARGS | B | BASE_IMAGE | CA_CERT | CHECK | DATA | DATASET | DATA_REMOTE | DELETE | ELSEWHERE | EXPECT) ;;
    FAST | FILTER | FROM | GPU | GRID | HOST | INIT | JOB | JOBS | JOIN_TIMEOUT | JSON | KEEP | KEEP_ALIVE | KEY) ;;
    MASTER_ADDR | MASTER_PORT | NAME | NNODES | NODE_RANK | NOTE | NPROC_PER_NODE | OPEN | PKG | PLATFORM | PORT | PROCS) ;;
    QUICK | RESTARTS | RESUME | RUN | RUNS | RUNTIME | SERVE | SORT | TEXT | TOKEN | TORCH_INDEX | WHEELHOUSE | WITH | YES) ;;
    HTTP_PROXY | HTTPS_PROXY | NO_PROXY | MAKE* | MFLAGS | GNUMAKEFLAGS | SAMEBENCH* | ARTIFACT | HASH | LAUNCH | LOAD | NAMES) ;;
    # The system, the shell, the loader, Python, git and the engines.
    PATH | HOME | USER | LOGNAME | SHELL | PWD | OLDPWD | TERM | TMPDIR | TMP | TEMP | TZ | IFS | ENV | PPID | UID | EUID) ;;
    OPTARG | OPTIND | PS[0-9] | BASH* | SHELLOPTS | CDPATH | LANG | LANGUAGE | LC_* | LOCPATH | GCONV_PATH) ;;
    LD_* | DYLD_* | GLIBC_* | MALLOC_* | PYTHON* | VIRTUAL_ENV | CONDA* | PIP_* | UV_* | JUPYTER* | IPYTHON*) ;;
    GIT_* | SSH_* | GPG_* | SSL_CERT_* | DOCKER_* | BUILD* | CONTAINER* | PODMAN* | XDG_* | SOURCE_DATE_EPOCH) ;;
    # The CPU level, threads, GPUs and processes: another value, other bits.
    ATEN_* | MKL* | ONEDNN_* | DNNL_* | OMP_* | GOMP_* | KMP_* | OPENBLAS_* | BLIS_* | VECLIB_* | NUMEXPR_* | ORT_*) ;;
    CUBLAS* | CUDA* | CUDNN* | NVIDIA_* | NCCL_* | GLOO_* | TORCH* | PYTORCH* | PET_* | RANK | WORLD_SIZE | LOCAL_*) ;;
    GROUP_* | ROLE_*) ;;
    *) return 1 ;;
    esac
}

# Sets `dotenv` to the names in .env, and exports them with their values; what the shell has exported already stays. A value
# is the rest of the line, without the quotes around it or a remark after it: nothing in it is expanded, and none is shown.
load_dotenv() {
    dotenv='' number=0
    [ -e .env ] || return 0
    { [ -f .env ] && [ -r .env ]; } || fail 3 "$PWD/.env: no file that can be read; make it yours (chown), or remove it"
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        line=$(printf '%s' "$line" | LC_ALL=C sed 's/^[[:blank:]]*//; s/[[:space:]]*$//; s/^export[[:blank:]][[:blank:]]*//')
        case $line in '' | '#'*) continue ;; esac
        variable=${line%%=*}
        case $variable in
        "$line" | '' | [!A-Z_]* | *[!A-Z0-9_]*) fail 2 ".env:$number: give NAME=value, with capital letters, digits and _ in the name" ;;
        esac
        ! is_reserved "$variable" || fail 2 ".env:$number: $variable can't stand in there: it decides what is done or what comes out; give it to make, or export it"
        read_value "${line#*=}"
        dotenv="$dotenv $variable"
        eval "[ -n \"\${$variable+set}\" ]" || eval "$variable=\$value"
        export "${variable?}"
    done <.env
}

# Sets `value` to what stands after the = of a line.
read_value() {
    value=$1
    case $value in
    \"* | \'*)
        quote=${value%"${value#?}"}
        rest=${value#?}
        value=${rest%%"$quote"*}
        [ "$value" != "$rest" ] || fail 2 ".env:$number: $variable: a quote that does not end on this line; end it"
        rest=$(printf '%s' "${rest#*"$quote"}" | LC_ALL=C sed 's/^[[:blank:]]*//')
        case $rest in '' | '#'*) ;; *) fail 2 ".env:$number: $variable: more after the second quote; use the other kind of quotes around it" ;; esac
        ;;
    *) value=$(printf '%s' "$value" | LC_ALL=C sed 's/^[[:blank:]]*//; s/[[:blank:]]#.*//; s/[[:blank:]]*$//') ;;
    esac
}

# The same for an engine's --env-file, which takes each line as it is.
write_env_file() {
    load_dotenv
    (umask 077 && : >"$1.new")
    for variable in $dotenv; do
        eval "printf '%s=%s\n' \"\$variable\" \"\$$variable\"" >>"$1.new"
    done
    mv -f "$1.new" "$1"
}
