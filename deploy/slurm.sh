#!/bin/bash
# Runs a suite on the nodes of a SLURM job. Arguments are those of `lossbench run`:
#
#   sbatch --nodes=4 deploy/slurm.sh suites/mnist.yaml --data-root /scratch/data
#
#SBATCH --job-name=lossbench
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:INT@120
# for GPUs: sbatch --gpus-per-node=4 ...
set -euo pipefail

# source /path/to/venv/bin/activate

RAY_AUTH_TOKEN=$(python -c "import secrets; print(secrets.token_hex(32))")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
port=$((20000 + SLURM_JOB_ID % 20000)) # differs between jobs on one node
options=(--block "--num-cpus=${SLURM_CPUS_PER_TASK:-1}" "--temp-dir=/tmp/ray-$SLURM_JOB_ID")
[[ -n ${SLURM_GPUS_ON_NODE:-} ]] && options+=("--num-gpus=$SLURM_GPUS_ON_NODE")

# the head's address as the other nodes see it
ip=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | cut -d' ' -f1)
srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap \
    ray start --head --node-ip-address="$ip" --port="$port" --include-dashboard=false \
    "${options[@]}" &
steps=($!)
if ((${#nodes[@]} > 1)); then
    srun --nodes=$((${#nodes[@]} - 1)) --ntasks=$((${#nodes[@]} - 1)) --exclude="$head" --overlap \
        ray start --address="$ip:$port" "${options[@]}" &
    steps+=($!)
fi
trap 'kill "${steps[@]}" 2> /dev/null || true; wait' EXIT

# the number of parallel trials is fixed when lossbench starts, so wait for all nodes
python - "$ip:$port" "${#nodes[@]}" << 'PYTHON'
import sys, time, ray

end = time.monotonic() + 300
while True:
    try:
        ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
        break
    except ConnectionError:
        if time.monotonic() > end:
            sys.exit("the head of the Ray cluster does not answer")
        time.sleep(1)
while (alive := sum(node["Alive"] for node in ray.nodes())) < int(sys.argv[2]):
    if time.monotonic() > end:
        sys.exit(f"only {alive} of {sys.argv[2]} nodes joined the Ray cluster in 5 minutes")
    time.sleep(1)
PYTHON

# SLURM sends INT 2 minutes before the time limit; lossbench then stops in order, and the same
# command in another job continues
set -m # without it, background processes of bash ignore INT
lossbench run "$@" --address "$ip:$port" &
driver=$!
trap 'kill -INT "$driver"' INT
code=0
wait "$driver" || code=$?
while kill -0 "$driver" 2> /dev/null; do # the signal ended the first wait
    code=0
    wait "$driver" || code=$?
done
exit "$code"
