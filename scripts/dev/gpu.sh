#!/usr/bin/env bash
# Everything that waits for a GPU, in one go: tests, benchmarks, and CNNtention's four models at their full length.
#
#   scripts/dev/gpu.sh DATA_DIR [OUTPUT_DIR [STEP...]]     DATA_DIR holds CIFAR-10; without steps, all of them
#
# PYTHON names the interpreter (python3), TRAINER another trainer=, to try the script itself: TRAINER=cpu. A step that
# fails or takes more than ten minutes is named at the end, and the others are done. Figures: OUTPUT_DIR/benchmarks/*.json
# and OUTPUT_DIR/runs; what was printed: OUTPUT_DIR/gpu/<step>.log.
set -uo pipefail
cd "$(dirname "$0")/../.."

PYTHON="${PYTHON:-python3}" TRAINER="${TRAINER:-gpu}"
DATA="${1:?usage: scripts/dev/gpu.sh DATA_DIR [OUTPUT_DIR [STEP...]]}" OUT="${2:-outputs}"
WANTED=" ${*:3} "
FAILED=()
mkdir -p "$OUT/gpu"

step() {  # step NAME COMMAND...
    local name="$1" started=$SECONDS
    shift
    [ -z "${WANTED// /}" ] || [[ "$WANTED" == *" $name "* ]] || return 0
    if timeout 600 "$@" > "$OUT/gpu/$name.log" 2>&1; then
        echo "$name: $((SECONDS - started)) s"
    else
        echo "$name: FAILED after $((SECONDS - started)) s: $(tail -n 1 "$OUT/gpu/$name.log")"
        FAILED+=("$name")
    fi
}

benchmark() {  # benchmark NAME SUB-COMMAND OPTIONS...
    local name="$1"
    shift
    step "$name" "$PYTHON" scripts/benchmark.py "$@" "output_dir=$OUT"
}

CIFAR=(dataset=cifar10 "data_dir=$DATA")
RUNS=("data_dir=$DATA" "output_dir=$OUT" "trainer=$TRAINER" logger=none)

benchmark precision precision "${CIFAR[@]}" attention=none forms=fp32,bf16,bf16-compiled,bf16-graphs
benchmark step_tiny step model=tiny steps=300 rounds=15 "trainer=$TRAINER"
benchmark step_resnet20 step "${CIFAR[@]}" attention=none steps=100 rounds=7 "trainer=$TRAINER"
step cnntention "$PYTHON" scripts/reproduce.py table=cnntention/cifar10 scale=paper seeds=1 rows="1;2;3;4" "${RUNS[@]}"
for size in 128 1024; do
    benchmark "tokens_$size" tokens methods=tome,evit,zoomvit "batch_size=$size" dtypes=bf16 modes=eager,compiled
done
benchmark zoomvit zoomvit batch_size=128 encoder_batch=128
benchmark data data "${CIFAR[@]}"
benchmark relevance relevance backbone=deit_b batch_size=32
benchmark model model "${CIFAR[@]}" attention=none,attzoom,loupe,self_attention,multi_head,cbam dtypes=fp32,bf16
step tests "$PYTHON" -m pytest -m gpu tests

[ ${#FAILED[@]} -eq 0 ] || { echo "failed: ${FAILED[*]}"; exit 1; }
