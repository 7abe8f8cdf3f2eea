#!/bin/bash
# One training on several machines: sbatch --nodes=8 training/accelerate/slurm.sh RECIPE NODE
#   RECIPE  a recipe whose node NODE trains, with `work` on a disk that all machines share, and in the node:
#             processes: 64      # GPUs in all: a multiple of the machines, a divisor of batch_size
#             sharding: fsdp2
#   HF_TOKEN must be set; everything that NODE reads must be published.
# The command runs once, on the first machine. It fetches, and publishes at the end; in between it starts
# accelerate on every machine with srun. Killed or requeued, it goes on from the last checkpoint.
#SBATCH --job-name=backforth
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --output=%x-%j.log
set -euo pipefail
recipe=${1:?name a recipe}
node=${2:?name the node that trains}
cd "${SLURM_SUBMIT_DIR:-.}"
source .venv/bin/activate
exec backforth run "$recipe" --only "$node"
