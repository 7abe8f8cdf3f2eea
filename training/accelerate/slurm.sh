#!/bin/bash
# One training on several machines: the command that trains on one, after sbatch and this script.
#   export HF_TOKEN=...
#   sbatch --nodes=4 training/accelerate/slurm.sh make train-final METHOD=full BASE=... DATASET=...
#   sbatch --nodes=4 training/accelerate/slurm.sh backforth run recipe.yaml --only train-final
# Submit it from the clone or from an active environment, in a folder that all machines see: .backforth, or the
# recipe's `work`, is where checkpoints go. make takes all GPUs of the job (GPUS= says otherwise); a recipe's
# training names them itself, such as `processes: 32` and `sharding: fsdp2`.
# The command runs once, on the first machine. It fetches, starts accelerate on every machine with srun, and
# publishes at the end. Cancelled, requeued, or out of time, the same line goes on from the last checkpoint,
# which is at most `save_minutes` old, half an hour.
# What is set here is what sbatch takes unless the command line says otherwise: --partition, --time, --account.
#SBATCH --job-name=backforth
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: sbatch --nodes=4 slurm.sh make train-final METHOD=full BASE=... DATASET=..." >&2; exit 2; }
export GPUS=${GPUS:-$((SLURM_NNODES * ${SLURM_GPUS_ON_NODE:-1}))}
if [ -f .venv/bin/activate ]; then source .venv/bin/activate; fi
exec "$@"
