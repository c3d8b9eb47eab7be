#!/usr/bin/env bash
# Constraints for pip: the `oldest` releases that pyproject.toml allows (needs uv), those `tested` (requirements.lock), or
# none, the `newest`. scripts/dev/bounds.sh oldest > bounds.txt; make test PIP_ARGS="-c bounds.txt"
set -euo pipefail
cd "$(dirname "$0")/../.."
case "${1:-}" in
  oldest) uv pip compile --quiet --no-header --no-annotate --resolution lowest-direct --extra dev --extra sweep --extra robustness --extra segmentation pyproject.toml ;;
  tested) sed -nE 's/^([A-Za-z0-9_.-]+==[^\\]*[^ \\]) *\\?$/\1/p' requirements.lock ;;
  newest) ;;
  *) echo "error: name oldest, tested or newest" >&2; exit 2 ;;
esac
