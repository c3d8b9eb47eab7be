#!/usr/bin/env bash
# The licences of what requirements.lock names, as a page: make lock. $1 is the folder of the environment's programs.
set -euo pipefail
cd "$(dirname "$0")/../.."
mapfile -t names < <(sed -nE 's/^([A-Za-z0-9_.-]+)==.*/\1/p' requirements.lock)
cat <<'TEXT'
# Licences of the dependencies

What the packages of `requirements.lock` say of themselves, as far as they were installed where this page was made by
`make lock`. NVIDIA's libraries, which come with torch for CUDA, have NVIDIA's terms.

TEXT
"$1/pip-licenses" --python "$1/python" --with-system --format=markdown --packages "${names[@]}"
