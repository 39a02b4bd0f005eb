#!/usr/bin/env bash
# Any training script on several machines of a SLURM cluster, eight GPUs each:
#   sbatch --nodes 2 scripts/slurm.sh train_t2m.py --latent-dir humanml3d_272/t2m_latents
# A worker that dies is started again three times; a job that is preempted, or whose machine fails, is queued again; one
# whose time is over is to be submitted again. Each goes on from the newest whole checkpoint, and ends with the weights of a run that was never stopped.
#SBATCH --job-name=motion
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?start this with sbatch, in the project\'s folder}"
torchrun=$([ -x .venv/bin/torchrun ] && echo .venv/bin/torchrun || echo torchrun)
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1      # else a restart on several machines finds the addresses of the dead
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-32}    # which srun does not inherit
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
exec srun "$torchrun" --nnodes "$SLURM_NNODES" --nproc-per-node "${SLURM_GPUS_ON_NODE:-8}" --max-restarts 3 \
    --rdzv-backend c10d --rdzv-endpoint "$first:29500" --rdzv-id "$SLURM_JOB_ID" "$@"
