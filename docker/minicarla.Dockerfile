# minicarla alone: a CARLA 0.9.16 server without a GPU, for programs and continuous integration.
#   docker build -f docker/minicarla.Dockerfile -t minicarla:0.1.0 .
#   docker run --rm -p 127.0.0.1:2000-2001:2000-2001 minicarla:0.1.0
FROM python:3.11.11-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY constraints.txt /src/constraints.txt
COPY packages/minicarla /src/packages/minicarla
RUN python -m venv /opt/minicarla \
    && /opt/minicarla/bin/pip install --no-cache-dir -c /src/constraints.txt "/src/packages/minicarla[video]"

FROM python:3.11.11-slim-bookworm
COPY --from=build /opt/minicarla /opt/minicarla
RUN useradd --create-home --uid 1000 driver
USER driver
WORKDIR /home/driver
ENV PATH=/opt/minicarla/bin:$PATH PYTHONUNBUFFERED=1
# Calls, and sensor data.  Inside the container all addresses; outside, what -p opens.
EXPOSE 2000 2001
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', 2000), 2).close()"]
ENTRYPOINT ["minicarla"]
CMD ["serve", "--host", "0.0.0.0", "--port", "2000", "--map", "town"]
