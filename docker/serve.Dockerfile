# The server: Debian's Python, its own lock, and one artifact. Nothing of the workspace, no torch, no compiler, no pip.
ARG BASE_IMAGE

# As in docker/cpu.Dockerfile: ends each step, so that the bits don't depend on the day.
ARG SOURCE_DATE_EPOCH
ARG DATED="find / -xdev -newermt @${SOURCE_DATE_EPOCH:-9999999999} -writable ! -path /dev ! -path /proc ! -path /sys -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +"

# Stand in for the directories that --build-context wheelhouse=DIR and --build-context artifact=DIR bring.
FROM scratch AS wheelhouse
FROM scratch AS artifact

FROM ${BASE_IMAGE:-debian:bookworm-slim@sha256:96e378d7e6531ac9a15ad505478fcc2e69f371b10f5cdf87857c4b8188404716} AS python
ARG DATED

# As in docker/cpu.Dockerfile: apt is frozen at the base's own moment, where the base names it.
RUN set -eux; \
    sed -i -E '/^# https?:\/\/snapshot/{N; s/^# (\S+)\nURIs: .*/URIs: \1\nCheck-Valid-Until: no/}' /etc/apt/sources.list.d/*.sources || true; \
    apt-get update; \
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3; \
    rm -rf /var/cache/* /var/lib/apt/lists/* /var/log/*; \
    # What slim bases leave out already, for those that don't. The copyright notices stay.
    rm -rf /usr/share/info/* /usr/share/locale/* /usr/share/man/*; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    python3 --version; \
    $DATED

# What installs stays behind in this stage.
FROM python AS installed
ARG DATED
RUN set -eux; \
    apt-get update; \
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates python3-pip-whl
RUN --mount=type=bind,source=docker/serve.lock,target=/build/docker/serve.lock \
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
    WHEELHOUSE=/wheelhouse sh install.sh /usr/bin/python3 /opt/venv /srv/src docker/serve.lock; \
    # 60 MB that nothing here opens: onnxruntime's library for C (Python's has all of it inside), its tools, numpy's tests.
    cd /opt/venv/lib/python3*/site-packages; \
    rm -r onnxruntime/capi/libonnxruntime.so.* onnxruntime/quantization onnxruntime/tools onnxruntime/transformers; \
    rm -r numpy/tests numpy/*/tests; \
    /opt/venv/bin/python -m compileall -q -f -j 0 --invalidation-mode unchecked-hash /opt/venv; \
    $DATED

FROM python
ARG DATED
ARG PROJECT
# Not COPY, which keeps the day on which a folder was made or a file checked out.
RUN --mount=type=bind,from=installed,source=/opt/venv,target=/build/venv \
    --mount=type=bind,source=src,target=/build/src \
    --mount=type=bind,from=artifact,target=/build/artifact \
    set -eux; \
    : "${PROJECT:?give --build-arg PROJECT=, the name of a package in src/}"; \
    cp --archive /build/venv /opt; \
    mkdir /srv/src; \
    cp --recursive /build/src/samebench "/build/src/$PROJECT" /srv/src; \
    cp --recursive /build/artifact /srv; \
    chmod --recursive 755 /srv/src /srv/artifact; \
    $DATED

ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin
ENV LANG=C.UTF-8
ENV PYTHONDONTWRITEBYTECODE=1
ENV PYTHONUNBUFFERED=1
ENV ORT_DISABLE_TELEMETRY=1
ENV ARTIFACT=/srv/artifact
ENV PROJECT=$PROJECT
# Beyond loopback: the server then asks for API_KEY, or SERVE=without-a-key.
ENV HOST=0.0.0.0

# What the running environment can be held against.
RUN set -eux; \
    python -m samebench.environment.fingerprint --same >/opt/venv/fingerprint.json; \
    chmod 644 /opt/venv/fingerprint.json; \
    $DATED

# Any UID works, on a read-only root, without a capability. This one is for those who start the image without a word.
USER 65532:65532
WORKDIR /srv
# An image whose artifact does not answer right is not made.
RUN python -m samebench.serving verify
EXPOSE 8000
HEALTHCHECK --interval=8s --timeout=5s --start-period=10s --retries=2 CMD ["python", "-m", "samebench.serving", "--health"]
ENTRYPOINT ["python", "-m", "samebench.serving"]
