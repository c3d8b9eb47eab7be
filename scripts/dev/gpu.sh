#!/usr/bin/env bash
# Everything that waits for a GPU, part by part: what it found is printed as it comes and lies in OUTPUT_DIR.
#
#   scripts/dev/gpu.sh DATA_DIR [PART...]      DATA_DIR holds CIFAR-10; without parts, all of them in this order
#
#   graph    training steps as one CUDA graph against eager ones, and several runs at once on the card, in bf16
#   tests    the tests that need a GPU, 8 at a time
#   tokens   token reduction and ZoomViT
#   others   precision, data, step, relevance maps, attention modules
#   paper    CNNtention's models at full length, four at once, a graph a step: PAPER_ROWS of the table ("1;2;3;4")
#
# Environment: PYTHON the interpreter (python3); TRAINER another trainer= (cpu, to try the script itself); OUTPUT_DIR
# (outputs); LIMIT the seconds for all parts together (720), of which each step gets at most its own and what is left;
# BRING a folder that gets what is small of the results as gpu-<time>.tgz, after every part (records, not checkpoints);
# TINY=1 makes every step as short as it can be, PATIENCE multiplies the steps' own limits (1); MPS=1 starts NVIDIA's
# multi-process service for runs that share the card.
set -uo pipefail
cd "$(dirname "$0")/../.."

PYTHON="${PYTHON:-python3}" TRAINER="${TRAINER:-gpu}" OUT="${OUTPUT_DIR:-outputs}" LIMIT="${LIMIT:-720}"
TINY="${TINY:-}" PATIENCE="${PATIENCE:-1}"
DATA="${1:?usage: scripts/dev/gpu.sh DATA_DIR [graph|tests|tokens|others|paper ...]}"
PARTS="${*:2}"
STARTED="$(date +%H%M%S)" FAILED=()
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$OUT/gpu"

step() {  # step NAME SECONDS COMMAND...
    local name="$1" limit=$(($2 * PATIENCE)) left=$((LIMIT - SECONDS)) started=$SECONDS log="$OUT/gpu/$1.log" pid code
    shift 2
    [ "$left" -gt 5 ] || { echo "== $name: left out, the time is over"; FAILED+=("$name"); return 0; }
    echo "== $name (at $SECONDS s, at most $((limit < left ? limit : left)) s)"
    timeout -k 5 "$((limit < left ? limit : left))" "$@" > "$log" 2>&1 &
    pid=$!
    tail -n +1 -s 0.5 -f --pid="$pid" "$log" | grep --line-buffered -v "^epoch"
    wait "$pid"
    code=$?
    kill -KILL -- "-$pid" 2> /dev/null  # processes that it has started and left
    echo "== $name: $((SECONDS - started)) s, exit code $code"
    [ "$code" -eq 0 ] || FAILED+=("$name")
}

benchmark() {  # benchmark NAME SECONDS SUB-COMMAND OPTIONS...
    local name="$1" limit="$2"
    shift 2
    step "$name" "$limit" "$PYTHON" scripts/benchmark.py "$@" "output_dir=$OUT"
}

short() { if [ -n "$TINY" ]; then echo "$1"; else echo "$2"; fi; }  # short TINY USUAL

CIFAR=(dataset=cifar10 "data_dir=$DATA")
RUN=("data_dir=$DATA" "trainer=$TRAINER" logger=none)
HALF=("trainer.precision=$(short 32-true bf16-mixed)")
PACKED=(hydra/launcher=joblib hydra.launcher.n_jobs=4)
ROWS=cnntention/cifar10_paper,cnntention/cifar10_cbam_paper
ROWS=$ROWS,cnntention/cifar10_self_attention_paper,cnntention/cifar10_multi_head_paper
SIZE=() HOST=()
[ -z "$TINY" ] || HOST=(backbone=vit_digits depth=2 dtype=fp32 forms=eager)
[ -z "$TINY" ] || SIZE=(dataset.train_size=128 dataset.test_size=100 dataset.batch_size=32)

mps() {  # mps start|stop: lets the kernels of processes that share the card run at the same time
    [ -n "${MPS:-}" ] || return 0
    export CUDA_MPS_PIPE_DIRECTORY="$PWD/$OUT/gpu/mps" CUDA_MPS_LOG_DIRECTORY="$PWD/$OUT/gpu/mps"
    case "$1" in
        start) mkdir -p "$CUDA_MPS_PIPE_DIRECTORY"; nvidia-cuda-mps-control -d && echo "== MPS" || unset MPS ;;
        stop) echo quit | timeout 20 nvidia-cuda-mps-control ;;
    esac
    [ -n "${MPS:-}" ] && [ "$1" = start ] || unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
}

graph_part() {
    mps start
    benchmark graph 200 graph "experiments=$(short "${ROWS%%,cnntention/cifar10_self*}" "$ROWS")" together=true \
        "epochs=$(short 2 4)" "${RUN[@]}" "${HALF[@]}" "${SIZE[@]}"
    mps stop
    benchmark graph_resnet50 90 graph experiments=attzoom/cifar100 "epochs=$(short 2 3)" "${RUN[@]}" "${HALF[@]}" \
        dataset=cifar10 "dataset.train_size=$(short 64 6400)" "dataset.batch_size=$(short 16 128)" \
        "backbone=$(short resnet20 resnet50)"
    benchmark graph_compiled 100 graph "experiments=${ROWS%%,*}" forms=graph,graph-compiled \
        "epochs=$(short 2 4)" "${RUN[@]}" "${HALF[@]}" "${SIZE[@]}"
    mps start
    step together 100 "$PYTHON" train.py -m "experiment=$(short "${ROWS%%,cnntention/cifar10_self*}" "$ROWS")" \
        "trainer.max_epochs=$(short 2 8)" trainer.graph=auto "${PACKED[@]}" "output_dir=$OUT/together" \
        "${RUN[@]}" "${HALF[@]}" "${SIZE[@]}"
    mps stop
    "$PYTHON" scripts/dev/speeds.py "$OUT/together"
}

tests_part() {
    step tests "$(short 300 200)" "$PYTHON" -m pytest -m gpu -p no:benchmark -p no:cacheprovider \
        -n "$(short 0 8)" -q -rfE --durations=5 "$(short tests/graphs/test_gpu.py tests)"
}

tokens_part() {
    benchmark tokens 270 gpu-tokens "batch=$(short 2 128,512)" "limit_s=$(short 600 240)" "methods=$(short tome all)" \
        "rounds=$(short 1 5)" "${HOST[@]}"
}

others_part() {
    benchmark precision 60 precision "${CIFAR[@]}" attention=none "rounds=$(short 1 5)" \
        "forms=$(short fp32 fp32,bf16,bf16-compiled,bf16-graphs)"
    benchmark step_tiny 40 step model=tiny "steps=$(short 20 300)" "rounds=$(short 2 9)" "trainer=$TRAINER" logger=none
    benchmark data 40 data "${CIFAR[@]}" "images=$(short 100 5000)" "rounds=$(short 1 3)"
    benchmark files 60 files "images=$(short 80 2048)" "workers=$(short 0 14)" "rounds=$(short 1 3)" logger=none
    benchmark relevance 60 relevance "backbone=$(short deit_t deit_b)" "batch_size=$(short 1 32)" "rounds=$(short 1 3)"
    benchmark model 100 model "${CIFAR[@]}" "batch_sizes=$(short 2 1,32,128)" "dtypes=$(short fp32 fp32,bf16)" \
        "attention=none,$(short loupe attzoom,loupe,self_attention,multi_head,cbam)" "rounds=$(short 1 3)"
}

paper_part() {
    local left=$((LIMIT - SECONDS - 15))
    mps start
    step paper "$left" "$PYTHON" scripts/reproduce.py table=cnntention/cifar10 "scale=$(short smoke paper)" seeds=1 \
        "rows=$(short 1 "${PAPER_ROWS:-1;2;3;4}")" trainer.graph=auto "${PACKED[@]}" "output_dir=$OUT" "${RUN[@]}"
    mps stop
    "$PYTHON" scripts/dev/speeds.py "$OUT"
}

bring() {  # the small files, in one archive that grows from part to part
    [ -n "${BRING:-}" ] || return 0
    find "$OUT" -type f \( -name '*.json' -o -name '*.csv' -o -name '*.log' -o -name '*.yaml' -o -name 'predictions.npz' \) \
        -size -4M -print0 | tar czf "$BRING/gpu-$STARTED.tgz" --null -T - 2>/dev/null
    echo "== brought: $(du -m "$BRING/gpu-$STARTED.tgz" | cut -f1) MiB"
}

for part in ${PARTS:-graph tests tokens others paper}; do
    declare -F "${part}_part" > /dev/null || { echo "$part: no such part; allowed: graph, tests, tokens, others, paper"; exit 2; }
    "${part}_part"
    bring
done
[ ${#FAILED[@]} -eq 0 ] || { echo "failed: ${FAILED[*]}"; exit 1; }
