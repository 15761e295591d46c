# A worker's image with more executors in it, as a plug-in's would be made: the built package beside ours, nothing else.
ARG WORKER
FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements/build.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --quiet --require-hashes --no-deps -r requirements/build.txt
COPY packages/testing packages/testing
RUN pip install --quiet --no-index --no-deps --no-build-isolation --target /plugin ./packages/testing

FROM ${WORKER}
COPY --from=build /plugin /opt/headrace/lib/python3.12/site-packages
