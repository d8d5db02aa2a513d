# The agent, for linux/arm64 and linux/amd64. From the top of the repository:
#
#     docker buildx build --platform linux/arm64 --file docker/agent.Dockerfile --tag edgeqa/agent .
#
# docs/images.md says more: other builders, pip behind a proxy, sizes, the parts list.

# A dated tag. Debian's fixes since that date come in by `apt-get upgrade` below.
ARG BASE=docker.io/library/debian:bookworm-20260824-slim

FROM ${BASE} AS base
RUN export DEBIAN_FRONTEND=noninteractive \
 && apt-get update \
 && apt-get upgrade --yes \
 && apt-get install --yes --no-install-recommends ca-certificates python3 \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/* \
 # Nobody becomes another user in here.
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
 && groupadd --gid 10001 edgeqa \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/edgeqa --no-create-home \
      --shell /usr/sbin/nologin edgeqa \
 # A new named volume takes the owner and mode of the folder that it is mounted over.
 && install --directory --mode 0700 --owner edgeqa --group edgeqa /var/lib/edgeqa /run/edgeqa \
 && install --directory --mode 0755 /etc/edgeqa

FROM base AS build
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3-venv \
 && python3 -m venv /opt/build \
 && python3 -m venv --without-pip /opt/edgeqa
WORKDIR /src
COPY docker/build/requirements.txt docker/build/
# pip's own settings, where a site has some: `--secret id=pip,src=pip.conf` and, for the authorities
# that it names, `--secret id=ca,src=ca.pem`. They leave no trace in any layer.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: \
      --requirement docker/build/requirements.txt
# What others wrote, by the lock file and as wheels only: nothing is compiled.
COPY pyproject.toml constraints.txt ./
COPY docker/build/extra.py docker/build/slim.py docker/build/unserved.py docker/build/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    python3 docker/build/extra.py pyproject.toml agent > extra.txt \
 && /opt/build/bin/pip --python /opt/edgeqa/bin/python install --no-cache-dir --no-compile \
      --disable-pip-version-check --only-binary :all: --constraint constraints.txt \
      --requirement extra.txt \
 && python3 docker/build/slim.py agent /opt/edgeqa
# What we wrote, and the default models; each becomes a layer of its own below.
COPY README.md LICENSE NOTICE ./
COPY common common
COPY agent agent
COPY cloud cloud
COPY models models
RUN /opt/build/bin/pip wheel --no-deps --no-index --no-build-isolation --no-cache-dir \
      --wheel-dir /wheels . \
 && /opt/build/bin/pip --python /opt/edgeqa/bin/python install --no-deps --no-index --no-compile \
      --root /ours /wheels/*.whl \
 && python3 docker/build/slim.py agent /ours/opt/edgeqa --ours \
 && packages=opt/edgeqa/lib/python3.11/site-packages/edgeqa_agent \
 && mkdir -p /models/$packages \
 && mv /ours/$packages/packages /models/$packages/
COPY docker/build/sbom.py docker/build/
COPY --from=base /var/lib/dpkg/status dpkg-status
ARG VERSION=dev
RUN mkdir -p /ours/usr/share/edgeqa \
 && python3 docker/build/sbom.py --name edgeqa/agent --version "${VERSION}" --dpkg dpkg-status \
      /opt/edgeqa/lib/python3.11/site-packages /ours/opt/edgeqa/lib/python3.11/site-packages \
      /models/opt/edgeqa/lib/python3.11/site-packages > /ours/usr/share/edgeqa/sbom.cdx.json

# The parts list alone: `--target sbom --output type=local,dest=FOLDER`.
FROM scratch AS sbom
COPY --from=build /ours/usr/share/edgeqa/sbom.cdx.json /

FROM base
# From what seldom changes to what often does: an update of EdgeQA brings its last layer only.
COPY --from=build /opt/edgeqa /opt/edgeqa
COPY --from=build /models/opt/edgeqa /opt/edgeqa
COPY --from=build /ours/opt/edgeqa /opt/edgeqa
COPY --from=build /ours/usr/share/edgeqa /usr/share/edgeqa
ENV PATH=/opt/edgeqa/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    MALLOC_TRIM_THRESHOLD_=65536 \
    EDGEQA_AGENT_CONFIG=/etc/edgeqa/agent.toml \
    EDGEQA_AGENT_STATE_DIR=/var/lib/edgeqa \
    EDGEQA_AGENT_HEALTH_FILE=/run/edgeqa/health.json \
    EDGEQA_AGENT_LOG_FORMAT=json \
    EDGEQA_HOLD=1
USER 10001:10001
WORKDIR /var/lib/edgeqa
# No VOLUME: it would quietly give a container that lacks its data volume a new, empty one.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["edgeqa", "agent", "health"]
ENTRYPOINT ["edgeqa", "agent", "run"]
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="edgeqa/agent" \
      org.opencontainers.image.description="Question answering on a small device, over MQTT." \
      org.opencontainers.image.licenses="Apache-2.0 AND CC-BY-4.0 AND 0BSD AND MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
