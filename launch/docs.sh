#!/usr/bin/env bash
# Writes a page for every module of the package into a folder, the recipes of
# launch/README.md in front: OUT/index.html, to be opened in a browser. Needs
# nothing but Python >= 3.11 and pip.
#
#   bash launch/docs.sh OUT
set -euo pipefail
if [[ $# -ne 1 || $1 == -* ]]; then
  echo 'usage: bash launch/docs.sh OUT' >&2
  exit 2
fi
out=$1
[[ $out == /* ]] || out=$PWD/$out
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh

prepare_environment docs
# Nothing is computed; a device would only be looked for.
JAX_PLATFORMS=cpu exec "$python" launch/document_api.py --out="$out"
