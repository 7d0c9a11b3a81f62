#!/bin/sh
# Installs what is missing to build (to test, to try the clients) on Debian 12, Ubuntu 22.04 and 24.04.
#
#     tools/deps.sh [build|test|clients|cuda]
#
# cuda: nvcc of CUDA 13.0 from PyPI (100 MB) into a folder of its own, where no toolkit of version 13 is
# there (tools/cuda_home.sh); make asks for it with CUDA=1 alone. Says first what it will install. When nothing is missing it prints nothing, asks no network and
# ends at once. As root it uses apt-get directly, else through sudo. On a system without apt it
# checks for the tools and headers themselves and, if one is missing, names it and ends with 1.
set -eu

build_packages="gcc libc6-dev make pkg-config libcivetweb-dev libcjson-dev libopenblas-dev
libutf8proc-dev libcurl4-openssl-dev libssl-dev libxxhash-dev python3 python3-pip python3-venv
ca-certificates curl"
test_packages="clang clang-format clang-tidy cppcheck"
client_packages="nodejs npm"
build_commands="cc make pkg-config python3 curl"
test_commands="clang clang-format clang-tidy cppcheck"
headers="civetweb.h cjson/cJSON.h cblas.h utf8proc.h curl/curl.h openssl/evp.h xxhash.h"

# The toolkit's folder comes into its place whole or not at all.
cuda() {
    if tools/cuda_home.sh >/dev/null; then return 0; fi
    own=$(tools/cuda_home.sh --own)
    echo "Installing nvcc of CUDA 13.0 from PyPI into $own (100 MB to fetch, 300 MB there)"
    mkdir -p "$(dirname "$own")"
    fresh=$(mktemp -d "$own.XXXXXX")
    trap 'rm -rf "$fresh"' EXIT
    if ! PIP_ROOT_USER_ACTION=ignore python3 -m pip --disable-pip-version-check --no-cache-dir install --quiet --no-deps --only-binary :all: \
        --require-hashes --target "$fresh" -r tools/cuda_packages.txt; then
        echo "tools/deps.sh: nvcc could not be had from PyPI. Give a toolkit of CUDA 13 by CUDA_HOME=FOLDER," \
            "or build without by CUDA=0" >&2
        exit 1
    fi
    chmod 755 "$fresh"
    rm -rf "$own"
    mv "$fresh" "$own"
    if ! tools/cuda_home.sh >/dev/null; then
        echo "tools/deps.sh: what was installed into $own is no whole toolkit" >&2
        exit 1
    fi
}

case "${1:-build}" in
cuda)
    cd "$(dirname "$0")/.."
    cuda
    exit 0
    ;;
build)
    packages=$build_packages commands=$build_commands for_test=
    ;;
test)
    packages="$build_packages $test_packages" commands="$build_commands $test_commands" for_test=1
    ;;
clients)
    # whichever way node came to this machine, it will do
    command -v node >/dev/null && command -v npm >/dev/null && client_packages=
    packages="$build_packages $client_packages" commands="$build_commands node npm" for_test=
    ;;
*)
    echo "usage: tools/deps.sh [build|test|clients|cuda]" >&2
    exit 2
    ;;
esac

# The sanitizers' and libFuzzer's libraries: a package of their own (libclang-rt-N-dev) since LLVM 14
# in Debian, inside libclang-common-N-dev in Ubuntu 22.04. The file tells, whatever the package.
have_clang_runtime() {
    for file in /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a \
        /usr/lib/llvm-*/lib/clang/*/lib/*/libclang_rt.fuzzer.a; do
        if [ -e "$file" ]; then return 0; fi
    done
    return 1
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    missing=
    for name in $commands; do
        command -v "$name" >/dev/null || missing="$missing $name"
    done
    for name in $headers; do
        echo "#include <$name>" | cc -E -x c - >/dev/null 2>&1 || missing="$missing <$name>"
    done
    if [ -z "$missing" ]; then exit 0; fi
    {
        echo "tools/deps.sh: missing:$missing"
        echo "There is no apt here. Install what your system calls these packages of Debian's:"
        echo $packages ${for_test:+"libclang-rt-dev"}
    } >&2
    exit 1
fi

installed=" $(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $packages 2>/dev/null |
    sed -n 's/^installed //p' | tr '\n' ' ')"
missing=
for name in $packages; do
    case "$installed" in
    *" $name "*) ;;
    *) missing="$missing $name" ;;
    esac
done
runtime=
if [ -n "$for_test" ] && ! have_clang_runtime; then runtime=1; fi
if [ -z "$missing$runtime" ]; then exit 0; fi

if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null; then
    as_root=sudo
else
    echo "tools/deps.sh: not root and no sudo here. As root: apt-get install$missing" \
        "${runtime:+libclang-rt-dev}" >&2
    exit 1
fi

echo "Installing with apt:$missing${runtime:+ and clang's sanitizer libraries}"

updated=
update() {
    $as_root apt-get -q -o DPkg::Lock::Timeout=300 update
    updated=1
}
install() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
        install --no-install-recommends "$@"
}
known() { apt-cache show --no-all-versions "$1" >/dev/null 2>&1; }

# A fresh image has no package lists.
for name in $missing ${runtime:+clang}; do
    if [ -z "$updated" ] && ! known "$name"; then update; fi
done

if [ -n "$missing" ] && ! install $missing; then
    # Lists that are too old name versions that are gone.
    if [ -n "$updated" ]; then exit 1; fi
    update
    install $missing
fi

if [ -n "$runtime" ] && ! have_clang_runtime; then
    major=$(clang -dumpversion | cut -d. -f1)
    if [ -z "$updated" ] && ! known "libclang-rt-$major-dev"; then update; fi
    for name in "libclang-rt-$major-dev" "libclang-common-$major-dev"; do
        if ! have_clang_runtime && known "$name"; then install "$name"; fi
    done
    if ! have_clang_runtime; then
        echo "tools/deps.sh: no package found with clang $major's sanitizer libraries" >&2
        exit 1
    fi
fi
