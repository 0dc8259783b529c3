# One image for every stage and every pod: a node pulls it once, and starts any of them fast. Pods choose by command:
#   python -m kannon.runtime          a function, by FUNCTION_TARGET=<stage> alone; what it does without a command
#   python -m kannon.runtime.serve    the same, a step sooner: FUNCTION_SOURCE=/app/functions/<stage>/main.py, too
#   python -m kannon.runtime.serve_public    likewise, of those that the public asks: track
#   python -m nats_source
#   python -m api_gateway
#   python -m edge_smtp
#   kannon migrate
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements-image.lock requirements-build.lock ./
# Wheels only: nothing is compiled, so no stage needs a compiler.
RUN python -m venv --without-pip /opt/kannon \
 && python -m pip --python /opt/kannon/bin/python install --no-compile --require-hashes --only-binary=:all: -r requirements-image.lock \
 && python -m pip install --require-hashes --only-binary=:all: -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY nats-source nats-source
COPY api-gateway api-gateway
COPY edge-smtp edge-smtp
RUN python -m pip wheel --no-index --no-deps --no-build-isolation --wheel-dir wheels . \
 && python -m pip --python /opt/kannon/bin/python install --no-compile --no-index --no-deps wheels/*.whl
COPY functions /app/functions
COPY migrations /app/migrations
# By hash and unchecked: a builder may change times, and nobody writes there.
RUN chmod -R a+rX /app \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/kannon/lib /app

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Kannon for Knative" \
      org.opencontainers.image.licenses="Apache-2.0"
# The user has no entry in /etc/passwd: HOME and USER are for code that asks who and where it is.
ENV PATH=/opt/kannon/bin:$PATH \
    HOME=/app \
    USER=kannon \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/kannon /opt/kannon
COPY --from=build /app /app
WORKDIR /app
# A number, so that a cluster can tell that it is not root.
USER 65532:65532
CMD ["python", "-m", "kannon.runtime"]
