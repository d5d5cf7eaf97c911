# The GPU workspace. docker/cpu.Dockerfile is the same but for its lock: keep it so (a test compares them).
ARG BASE_IMAGE

# Ends each step: what it has written bears a moment that host/image.py gives, so that the bits don't depend on the day.
ARG SOURCE_DATE_EPOCH
ARG DATED="find / -xdev -newermt @${SOURCE_DATE_EPOCH:-9999999999} -writable ! -path /dev ! -path /proc ! -path /sys -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +"

# Stands in for the directory of wheels that --build-context wheelhouse=DIR brings to a machine without a network.
FROM scratch AS wheelhouse

FROM ${BASE_IMAGE:-debian:bookworm-slim@sha256:96e378d7e6531ac9a15ad505478fcc2e69f371b10f5cdf87857c4b8188404716} AS base
ARG DATED

# An official base names the snapshot it was made from in a comment: taking that as the source freezes apt at the
# base's own moment. A base without the comment keeps its mirror.
RUN set -eux; \
    sed -i -E '/^# https?:\/\/snapshot/{N; s/^# (\S+)\nURIs: .*/URIs: \1\nCheck-Valid-Until: no/}' /etc/apt/sources.list.d/*.sources || true; \
    apt-get update; \
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates \
        git \
        make \
        python3 \
        python3-pip-whl; \
    rm -rf /var/cache/* /var/lib/apt/lists/* /var/log/*; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    python3 --version; \
    $DATED

# A compiler of one megabyte for a file of thirty lines; the image keeps only what it makes.
FROM base AS names
RUN --mount=type=bind,source=docker/nss_caller.c,target=/build/nss_caller.c \
    set -eux; \
    apt-get update; \
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends libc6-dev tcc; \
    tcc -Wall -Werror -shared -o /libnss_caller.so.2 /build/nss_caller.c

FROM base AS system
ARG DATED

# Any UID works: the runtime gives the host user's. This one is for those who start the image without a word; it is the
# only one of low number, so a devcontainer can renumber it. No useradd: it would write today's date into /etc/shadow.
# Others have their name from nss_caller.c. Without a line in /etc/shadow root's `su bench` is refused.
RUN --mount=type=bind,from=names,source=/libnss_caller.so.2,target=/build/libnss_caller.so.2 \
    set -eux; \
    echo 'bench:x:1000:' >>/etc/group; \
    echo 'bench:x:1000:1000:bench:/home/bench:/bin/bash' >>/etc/passwd; \
    echo 'bench:*:1:0:99999:7:::' >>/etc/shadow; \
    install --directory --owner 1000 --group 1000 --mode 1777 /home/bench; \
    install --directory --owner 1000 --group 1000 /workspace; \
    install --mode 644 /build/libnss_caller.so.2 /usr/lib; \
    sed -i 's/^passwd:.*/& caller/' /etc/nsswitch.conf; \
    setpriv --reuid 4321 --clear-groups whoami; \
    id bench; \
    $DATED

FROM system
ARG DATED

# Byte-compiled here, without clocks: the workspace starts sooner and the layer's bits do not depend on the day.
RUN --mount=type=bind,source=docker/gpu.lock,target=/build/docker/gpu.lock \
    --mount=type=bind,source=requirements.lock,target=/build/requirements.lock \
    --mount=type=bind,source=src/samebench/environment/install.sh,target=/build/install.sh \
    --mount=type=bind,from=wheelhouse,target=/wheelhouse \
    --mount=type=cache,target=/root/.cache \
    --mount=type=secret,id=ca,target=/run/ca.pem \
    --mount=type=secret,id=indexes,target=/run/indexes \
    --mount=type=tmpfs,target=/tmp \
    set -eux; \
    if [ -e /run/indexes ]; then . /run/indexes; fi; \
    if [ -e /run/ca.pem ]; then export SSL_CERT_FILE=/run/ca.pem; fi; \
    cd /build; \
    export PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0; \
    WHEELHOUSE=/wheelhouse sh install.sh /usr/bin/python3 /opt/venv /workspace/src requirements.lock docker/gpu.lock; \
    # torch/testing holds a file for newer Pythons on purpose.
    /opt/venv/bin/python -m compileall -q -f -j 0 -x /torch/testing/ --invalidation-mode unchecked-hash /opt/venv; \
    $DATED

# The packages that pyproject.toml lists. After the wheels, so that one more costs seconds and not minutes. Without
# 89 MB of a compiler's that nobody here calls: link-time optimization, a viewer of its files, Python as a static library.
ARG DEBIAN_PACKAGES=
RUN set -eux; \
    # podman takes the folder away that something was mounted at.
    [ -d /tmp ] || install --directory --mode 1777 /tmp; \
    apt-get update; \
    for package in $DEBIAN_PACKAGES; do \
        apt-cache show "$package" >/dev/null 2>&1 || \
            { echo "samebench: pyproject.toml, apt: \"$package\" is no package of this Debian" >&2; exit 2; }; \
    done; \
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        --option Dpkg::Options::=--path-exclude='/usr/bin/*-lto-dump-*' \
        --option Dpkg::Options::=--path-exclude='/usr/lib/gcc/*/lto1' \
        --option Dpkg::Options::=--path-exclude='/usr/lib/python3*/config-*/*.a' \
        $DEBIAN_PACKAGES; \
    # git-lfs has just written these in an order of chance.
    for name in clean process required smudge; do \
        value=$(git config --system "filter.lfs.$name") || continue; \
        git config --system --unset "filter.lfs.$name"; \
        git config --system "filter.lfs.$name" "$value"; \
    done; \
    rm -rf /var/cache/* /var/lib/apt/lists/* /var/log/*; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    $DATED

# Shells keep the image's PATH at login, and ssh looks where HOME says, as all others do, and not into /etc/passwd: by ${HOME},
# which ssh expands itself.
# hadolint ignore=SC2016
RUN --mount=type=bind,source=docker/profile.sh,target=/build/profile.sh \
    set -eux; \
    sed -i '/^if .*id -u.* -eq 0/,/^export PATH/d' /etc/profile; \
    sed "s/@FLAVOUR@/$(basename docker/gpu.lock .lock)/" /build/profile.sh >/etc/profile.d/samebench.sh; \
    echo '. /etc/profile.d/samebench.sh' >>/etc/bash.bashrc; \
    mkdir -p /etc/ssh/ssh_config.d; \
    printf '%s\n' 'UserKnownHostsFile ${HOME}/.ssh/known_hosts' 'IdentityFile ${HOME}/.ssh/id_ed25519' \
        'IdentityFile ${HOME}/.ssh/id_ecdsa' 'IdentityFile ${HOME}/.ssh/id_rsa' >/etc/ssh/ssh_config.d/home.conf; \
    git config --system man.viewer address; \
    git config --system man.address.cmd 'printf "The manual is at https://git-scm.com/docs/%s; git COMMAND -h lists the options.\n"'; \
    $DATED

# One a line and without spaces: the local runtime reads its variables from here.
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV HOME=/home/bench
ENV SHELL=/bin/bash
ENV EDITOR=editor
ENV SAMEBENCH=1
ENV JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS=false
ENV LANG=C.UTF-8
ENV ORT_DISABLE_TELEMETRY=1
# The CPU level, for the same weights on every x86-64 machine; see src/samebench/environment/determinism.py.
ENV ATEN_CPU_CAPABILITY=avx2
ENV MKL_CBWR=COMPATIBLE
ENV ONEDNN_MAX_CPU_ISA=AVX2
ENV CUBLAS_WORKSPACE_CONFIG=:4096:8

# What `make doctor` holds the running environment against.
RUN --mount=type=bind,source=docker/gpu.Dockerfile,target=/build/docker/gpu.Dockerfile \
    --mount=type=bind,source=docker/gpu.lock,target=/build/docker/gpu.lock \
    --mount=type=bind,source=requirements.lock,target=/build/requirements.lock \
    --mount=type=bind,source=src/samebench/environment/fingerprint.py,target=/build/src/samebench/environment/fingerprint.py \
    set -eux; \
    python -B /build/src/samebench/environment/fingerprint.py --same >/opt/venv/fingerprint.json; \
    chmod 644 /opt/venv/fingerprint.json; \
    $DATED

USER bench
WORKDIR /workspace

# On all addresses of the container: which of the host's lead there is for --publish to say. Behind a token as always.
CMD ["sh", "-c", "[ -d src/samebench ] || { echo 'samebench: no checkout in /workspace; mount it: docker run --volume \"$PWD:/workspace\" …' >&2; exit 2; }; SAMEBENCH_PUBLISHED=${SAMEBENCH_PUBLISHED:-8888} exec python -m samebench.workspace.notebook"]
