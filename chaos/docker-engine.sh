#!/usr/bin/env bash
# Makes a Docker engine and the base image of our Dockerfile available on a bare Debian machine that
# has no engine, or reaches no image registry. Run as root; a second run does nothing.
#
# After it, `docker info` answers and the image named by BASE_IMAGE exists, so that `make image`
# builds here as it does elsewhere. Everything is kept in STATE, the engine's process id too.
set -euo pipefail

BASE_IMAGE=${BASE_IMAGE:-python:3.11-slim-bookworm}
STATE=${STATE:-/var/tmp/docker-engine}
START_SECS=60
mkdir -p "$STATE"

install_packages() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@"
}

# 1. The engine; docker-compose, where `docker compose` is not part of it.
if ! docker info >/dev/null 2>&1; then
    if ! command -v dockerd >/dev/null; then
        apt-get update -q
        install_packages docker.io containerd runc iptables docker-compose
    fi
    setsid dockerd --data-root "$STATE/data" >"$STATE/dockerd.log" 2>&1 </dev/null &
    echo $! >"$STATE/dockerd.pid"
    for _ in $(seq "$START_SECS"); do docker info >/dev/null 2>&1 && break; sleep 1; done
    docker info >/dev/null || { tail -n 20 "$STATE/dockerd.log"; exit 1; }
fi

# 2. The base image, from a registry if there is one in reach; else Debian 12 with its own
#    Python 3.11, under the same name.
if ! docker image inspect "$BASE_IMAGE" >/dev/null 2>&1 && ! docker pull -q "$BASE_IMAGE" 2>/dev/null; then
    command -v debootstrap >/dev/null || install_packages debootstrap
    if [ ! -e "$STATE/rootfs.tar" ]; then
        rm -rf "$STATE/rootfs"
        debootstrap --variant=minbase \
            --include=python3,python3-venv,python3-pip,ca-certificates,iproute2,iptables,procps \
            bookworm "$STATE/rootfs" >"$STATE/debootstrap.log" 2>&1 ||
            { tail -n 20 "$STATE/debootstrap.log"; exit 1; }
        # Package indexes near this machine may be signed by an authority that only it knows.
        cp /etc/ssl/certs/ca-certificates.crt "$STATE/rootfs/etc/ssl/certs/ca-certificates.crt"
        ln -sf python3 "$STATE/rootfs/usr/bin/python"
        tar -C "$STATE/rootfs" -cf "$STATE/rootfs.tar" .
        rm -rf "$STATE/rootfs"
    fi
    docker import \
        --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_BREAK_SYSTEM_PACKAGES=1 PIP_DEFAULT_TIMEOUT=180' \
        --change 'CMD ["python3"]' "$STATE/rootfs.tar" "$BASE_IMAGE"
fi
docker image inspect --format 'engine ready, base image {{index .RepoTags 0}}' "$BASE_IMAGE"
