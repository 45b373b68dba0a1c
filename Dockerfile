# One image for the server and the command line. Two targets:
#   docker build -t lazynorm .                    Debian's slim image with the package installed
#   docker build -t lazynorm --target scratch .   the programs and what they link, nothing else
# Run as uid 10001 on a read-only root; the models are in the volume /data (see deploy/README.md).
# A container's network is its own, so it listens on all of it, in plain text (--insecure): who may reach it
# is said where its ports are published. With certificates say --insecure=false.

FROM debian:bookworm-slim AS build
WORKDIR /src
COPY deploy/packages.sh deploy/
RUN bash -c '. deploy/packages.sh && install_missing $build_packages $package_packages'
COPY CMakeLists.txt CMakePresets.json CHANGELOG.md LICENSE ./
COPY proto proto
COPY model model
COPY server server
COPY client client
COPY deploy/CMakeLists.txt deploy/*.py deploy/README.md deploy/
COPY deploy/systemd deploy/systemd
RUN cmake --preset release -DLAZYNORM_TESTS=OFF -DCMAKE_INSTALL_PREFIX=/usr \
 && cmake --build --preset release \
 && cpack --config build/CPackConfig.cmake

# Which libraries it needs, the package itself knows.
FROM debian:bookworm-slim AS runtime
COPY --from=build /src/build/package/*.deb /tmp/package/
RUN apt-get -o Acquire::Retries=5 update \
 && apt-get -o Acquire::Retries=5 install -y --no-install-recommends /tmp/package/*.deb \
 && apt-get clean && rm -rf /tmp/package /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin lazynorm \
 && install -d -o 10001 -g 10001 -m 700 /data

FROM runtime AS closure
RUN mkdir -p /out/usr/bin /out/usr/share /out/etc /out/data \
 && install -d -m 1777 /out/tmp && chown 10001:10001 /out/data && chmod 700 /out/data \
 && cp /usr/bin/lazynormd /usr/bin/lazynorm /out/usr/bin/ \
 && cp -r /usr/share/lazynorm /out/usr/share/ \
 && ldd /usr/bin/lazynormd /usr/bin/lazynorm \
    | awk '$2 == "=>" { print $3 } $1 ~ /^\/.*ld-linux/ { print $1 }' | sort -u \
    | while read -r file; do mkdir -p "/out$(dirname "$file")" && cp -L "$file" "/out$file"; done \
 && echo 'lazynorm:x:10001:10001::/data:/sbin/nologin' > /out/etc/passwd \
 && echo 'lazynorm:x:10001:' > /out/etc/group

FROM scratch AS scratch
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="lazynorm" \
      org.opencontainers.image.description="A model server that learns while it serves" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=closure /out/ /
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["/usr/bin/lazynorm", "health", "--timeout", "2s"]
ENTRYPOINT ["/usr/bin/lazynormd", "--listen=0.0.0.0:50051", "--metrics_listen=0.0.0.0:9464", "--insecure=true", "--data_dir=/data"]

FROM runtime
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="lazynorm" \
      org.opencontainers.image.description="A model server that learns while it serves" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["/usr/bin/lazynorm", "health", "--timeout", "2s"]
ENTRYPOINT ["/usr/bin/lazynormd", "--listen=0.0.0.0:50051", "--metrics_listen=0.0.0.0:9464", "--insecure=true", "--data_dir=/data"]
