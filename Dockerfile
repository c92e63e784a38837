# The service as one image for all its parts: the command names the part (worker, relay, asr-server, migrate …).

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src

# The lock changes less often than the code: its layer is reused.
COPY requirements/runtime.txt requirements/
RUN python -m venv /opt/qa-service \
 && /opt/qa-service/bin/python -m pip install --require-hashes --requirement requirements/runtime.txt

COPY requirements/build.txt requirements/
RUN python -m venv /opt/build \
 && /opt/build/bin/python -m pip install --require-hashes --requirement requirements/build.txt

COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY qa_service qa_service
RUN /opt/build/bin/python -m pip wheel --no-build-isolation --no-deps --wheel-dir /wheel . \
 && /opt/qa-service/bin/python -m pip install --no-deps --no-index /wheel/*.whl

FROM python:3.13-slim
LABEL org.opencontainers.image.title="qa-service" \
      org.opencontainers.image.description="Live quality inspection for call centres" \
      org.opencontainers.image.licenses="Apache-2.0"

RUN groupadd --gid 10001 qa \
 && useradd --uid 10001 --gid qa --no-create-home --home-dir /tmp --shell /usr/sbin/nologin qa \
 && install --directory --owner=qa --group=qa /var/cache/qa-service
COPY --from=build /opt/qa-service /opt/qa-service

# Model files are not in the image: `qa-service model fetch` puts them into the cache, which is a volume.
ENV PATH=/opt/qa-service/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    QA_CACHE_DIR=/var/cache/qa-service \
    QA_LOG_FORMAT=json \
    QA_SERVER_HOST=0.0.0.0 \
    HEALTH_URL=http://127.0.0.1:9090/livez
VOLUME /var/cache/qa-service

USER 10001:10001
# 9090: /livez, /readyz and /metrics of worker and relay. 8000: the asr-server, which answers these there as well
# (run it with HEALTH_URL=http://127.0.0.1:8000/livez).
EXPOSE 8000 9090
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s \
    CMD ["/bin/sh", "-c", "exec qa-service health --url \"$HEALTH_URL\""]
ENTRYPOINT ["qa-service"]
CMD ["--help"]
