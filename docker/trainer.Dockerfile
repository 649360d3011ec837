# The trainer.  TORCH chooses the build of torch:
#   docker build -f docker/trainer.Dockerfile -t av-td3:0.1.0-cpu .
#   docker build -f docker/trainer.Dockerfile --build-arg TORCH=cu128 -t av-td3:0.1.0-cuda .
# IMAGE_BUILD says from what the image was built; runs record it, and the diagnosis compares:
#   --build-arg IMAGE_BUILD="$(git rev-parse HEAD)"
FROM python:3.11.11-slim-bookworm AS build
ARG TORCH=cpu
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python -m venv /opt/av-td3
ENV PATH=/opt/av-td3/bin:$PATH
COPY constraints.txt ./
# torch first: it is the largest layer, and changes least.
RUN pip install --no-cache-dir -c constraints.txt torch --extra-index-url "https://download.pytorch.org/whl/${TORCH}"
COPY packages/minicarla packages/minicarla
COPY packages/rundoctor packages/rundoctor
COPY packages/av_td3 packages/av_td3
RUN pip install --no-cache-dir -c constraints.txt ./packages/minicarla ./packages/rundoctor ./packages/av_td3

FROM python:3.11.11-slim-bookworm
ARG IMAGE_BUILD=""
# carla's client needs nothing of these images but the C++ runtime; matplotlib brings its own fonts.
RUN apt-get update && apt-get install -y --no-install-recommends libstdc++6 libgomp1 \
    && rm -rf /var/lib/apt/lists/* && useradd --create-home --uid 1000 driver
COPY --from=build /opt/av-td3 /opt/av-td3
USER driver
WORKDIR /home/driver
RUN mkdir runs
ENV PATH=/opt/av-td3/bin:$PATH PYTHONUNBUFFERED=1 AV_TD3_IMAGE_BUILD=${IMAGE_BUILD}
VOLUME /home/driver/runs
HEALTHCHECK --interval=60s --timeout=30s --start-period=60s --retries=3 CMD ["av-td3", "--version"]
ENTRYPOINT ["av-td3"]
CMD ["train", "--preset", "quick"]
