# One image for all services; the argument picks the service:
#   docker run evenshard serve shard --name shard-0 --listen 0.0.0.0:7403 --advertise HOST:7403 --data-dir /data --etcd …
# It runs as nobody in particular on a read-only root file system, and wants /tmp, and a shard's --data-dir, writable.
# Build: docker build --tag evenshard .   To pin the base to its bytes: --build-arg PYTHON=python:3.13.9-…@sha256:…
ARG PYTHON=docker.io/library/python:3.13.9-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
RUN python -m venv /opt/evenshard
COPY constraints-image.txt ./
RUN /opt/evenshard/bin/python -m pip install --quiet --require-hashes --no-deps --only-binary :all: --requirement constraints-image.txt
COPY pyproject.toml README.md ./
COPY services services
RUN /opt/evenshard/bin/python -m pip install --quiet --no-deps --no-build-isolation .
# What no service needs: tests, headers, and the tools that installed it.
RUN rm -rf /opt/evenshard/lib/python3*/site-packages/evenshard/testing /opt/evenshard/lib/python3*/site-packages/pyarrow/include \
  && find /opt/evenshard/lib -type d -name tests -path '*/site-packages/*' -prune -exec rm -rf {} + \
  && /opt/evenshard/bin/python -m pip uninstall --quiet --yes setuptools pip
# A compiled kernel belongs to a file of a certain time, and layers keep times in whole seconds.
RUN find /opt/evenshard -exec touch --no-dereference --date=@1767225600 {} +
# Kernels, for the CPU level that evenshard.kernels fixes, not for this machine's; then everything else.
COPY scripts/warm_kernels.py ./
RUN /opt/evenshard/bin/python warm_kernels.py
RUN /opt/evenshard/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/evenshard/lib
RUN chmod -R a+rX,go-w /opt/evenshard

FROM ${PYTHON}
LABEL org.opencontainers.image.title="evenshard" \
      org.opencontainers.image.description="A sharded event store with exact deduplication and fast behavioural queries."
COPY --from=build /opt/evenshard /opt/evenshard
ENV PATH=/opt/evenshard/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# A number, so that Kubernetes can tell that it is not root.
USER 10001:10001
WORKDIR /
EXPOSE 7400 7401 7402 7403 9464
STOPSIGNAL SIGTERM
ENTRYPOINT ["evenshard"]
CMD ["--help"]
