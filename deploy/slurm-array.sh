#!/bin/bash
# A command in four shards, one in each member of an array, and then the whole, which finds everything made:
#   job=$(sbatch --parsable deploy/slurm-array.sh evaluate MODEL --erased church --preserved dog --classifier C --out DIR)
#   sbatch --dependency="afterok:$job" --array=0 deploy/slurm-array.sh evaluate MODEL ... --out DIR
# DIR lies on a file system that all nodes share. For GPUs, add --gpus-per-task=1.
#SBATCH --job-name=kpop-native
#SBATCH --array=0-3
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
#SBATCH --output=%x-%A-%a.log
set -euo pipefail

# One process a member: its threads are the cores that Slurm gave it.
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
exec kpop-native "$@"
