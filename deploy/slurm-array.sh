#!/bin/bash
# Runs shares of a suite as a SLURM job array, without Ray and MLflow. Arguments are those of
# `lossbench work`; the numbers of the array start with 1 and have no gaps:
#
#   sbatch --array=1-8 deploy/slurm-array.sh suites/mnist.yaml --data-root data --output results
#
#SBATCH --job-name=lossbench
#SBATCH --array=1-8
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
# for GPUs: sbatch --gpus-per-task=1 ...
set -euo pipefail

# source /path/to/venv/bin/activate

RESERVE=10 # minutes for the last epoch, and for measuring the trial that it belongs to

end=${SLURM_JOB_END_TIME:-$(date -d "$(squeue --noheader --job="$SLURM_JOB_ID" --format=%e)" +%s)}
minutes=$(((end - $(date +%s)) / 60 - RESERVE))
((minutes >= 1)) || minutes=1

# if an epoch takes longer than the reserve, SLURM's TERM stops lossbench, and the training continues
# from its last checkpoint
lossbench work "$@" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --minutes "$minutes" &
work=$!
trap 'kill -TERM "$work"' TERM
code=0
wait "$work" || code=$?
while kill -0 "$work" 2> /dev/null; do # the signal ended the first wait
    code=0
    wait "$work" || code=$?
done

# start again if the time is up; SECONDS is the age of this script
if ((SECONDS >= 60 * minutes && (code == 0 || code == 143))); then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
