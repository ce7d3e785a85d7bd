# The daemon alone: `docker run -v ./config:/config:ro -v data:/data -p 9464:9464 IMAGE`, with log.path and state.path under /data and
# exporter.host 0.0.0.0. It has no model runtime; `serve` runs from the `serving` extra.
ARG PYTHON=3.12-slim-bookworm

FROM python:${PYTHON} AS build
RUN python -m venv /opt/model-monitor
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY monitor monitor
# The lock holds every extra's packages: as constraints without their hashes it fixes the versions of the few that the daemon needs.
RUN grep -o '^[A-Za-z0-9._-]*==[^\\]*' requirements.lock > /tmp/constraints.txt \
    && /opt/model-monitor/bin/pip install --no-cache-dir --no-compile -c /tmp/constraints.txt . \
    && /opt/model-monitor/bin/pip uninstall --yes pip

FROM python:${PYTHON}
COPY --from=build /opt/model-monitor /opt/model-monitor
RUN mkdir /data && chown 65532:65532 /data
ENV PATH=/opt/model-monitor/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MODEL_MONITOR_CONFIG=/config/model-monitor.yaml
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 9464
ENTRYPOINT ["model-monitor"]
CMD ["watch"]
