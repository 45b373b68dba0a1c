#!/bin/sh
# Generates the stubs and compiles all of it against Debian's jars: build.sh [DIR]. "java @DIR/classpath
# CLASS" then runs a class, with all that is needed for it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../build/clients/java}
rm -rf "$out/generated" "$out/classes" && mkdir -p "$out/generated" "$out/classes"
out=$(cd "$out" && pwd)
cd "$here/../../proto"
protoc --java_out="$out/generated" --grpc-java_out="$out/generated" \
  --plugin=protoc-gen-grpc-java="$(command -v grpc_java_plugin)" \
  lazynorm/v1/*.proto google/rpc/*.proto
jars=
for jar in grpc-api grpc-context grpc-core grpc-netty grpc-protobuf grpc-protobuf-lite grpc-stub protobuf guava \
  opencensus-api perfmark-api geronimo-annotation-1.3-spec netty-buffer netty-codec netty-codec-http \
  netty-codec-http2 netty-common netty-handler netty-resolver netty-tcnative netty-transport; do
  jar=/usr/share/java/$jar.jar
  [ -e "$jar" ] || { echo "$jar is missing; README.md names the packages" >&2 && exit 1; }
  jars=$jars:$jar
done
# Debian's netty does TLS for HTTP/2 by OpenSSL alone, and looks for the library under another name than
# Debian gives it; a link will not do.
mkdir -p "$out/native"
cp /usr/lib/*/jni/libnetty-tcnative.so "$out/native/libnetty_tcnative.so"
echo "-Djava.library.path=$out/native -cp $out/classes$jars" >"$out/classpath"
find "$out/generated" "$here/lazynorm" "$here/acceptance" -name '*.java' >"$out/sources"
javac -nowarn -Xlint:none -d "$out/classes" -cp "${jars#:}" "@$out/sources"
