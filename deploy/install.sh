#!/usr/bin/env bash
# Makes .venv and installs cxr-worker into it with pinned versions. Usage: install.sh EXTRA (demo, train or dev)
#
# On Linux the common index serves a CUDA build of PyTorch of several GB. Without an NVIDIA driver PyTorch's
# own index of CPU wheels is therefore asked too, if it can be reached. TORCH_INDEX names another one, or,
# set empty, none.
set -euo pipefail
cd "$(dirname "$0")/.."
extra=${1:?usage: install.sh EXTRA}
python=${PYTHON:-python3}
cpu_index=https://download.pytorch.org/whl/cpu

"$python" - <<'CHECK' || exit 1
import sys
if sys.version_info < (3, 11):
    sys.exit(f"expected Python 3.11 or newer, this is {sys.version.split()[0]}; set PYTHON=/path/to/python3.11")
CHECK

reachable() {  # URL: answers within a few seconds
  "$python" -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=4)' "$1/torch/" 2>/dev/null
}

if [ -z "${TORCH_INDEX+set}" ]; then
  TORCH_INDEX=
  if [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then
    if reachable "$cpu_index"; then TORCH_INDEX=$cpu_index
    else echo "note: PyTorch's index of CPU wheels cannot be reached; pip looks where it always does"; fi
  fi
fi

[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
  --constraint deploy/constraints.txt --editable ".[$extra]"
