# rl run otter, attempt 1, in /runs/otter
# nothing is written; add --output-dir DIR to write the configurations, so that each line can be run

# trainer: GPU 0,1,2,3,4,5, 6 ranks under torchrun
#   log /runs/otter/logs/attempt_1/trainer.log
#   ranks /runs/otter/logs/attempt_1/torchrun/otter-1/attempt_0/RANK/{stdout,stderr}.log
env PYTHONUNBUFFERED=1 LAUNCH_COMPONENT=trainer LAUNCH_RUN_DIR=/runs/otter LAUNCH_ATTEMPT=1 \
    LAUNCH_LOG_LEVEL=INFO CUDA_VISIBLE_DEVICES=0,1,2,3,4,5 OMP_NUM_THREADS=1 \
    TORCH_FR_BUFFER_SIZE=2000 TORCH_NCCL_DUMP_ON_TIMEOUT=1 \
    TORCH_FR_DUMP_TEMP_FILE=/runs/otter/logs/attempt_1/flight_recorder/rank_ \
    TORCH_NCCL_DEBUG_INFO_PIPE_FILE=/runs/otter/logs/attempt_1/flight_recorder/rank_ /venv/bin/python \
    -m torch.distributed.run --nproc-per-node=6 --rdzv-id=otter-1 \
    --log-dir=/runs/otter/logs/attempt_1/torchrun --local-ranks-filter=0 --nnodes=1 \
    --rdzv-backend=c10d --rdzv-endpoint=localhost:0 --max-restarts=0 --role=trainer --redirects=3 \
    --tee=3 --logs-specs=launch -m launcher.workload.rl @ /runs/otter/configs/trainer.toml

# orchestrator: no GPU
#   log /runs/otter/logs/attempt_1/orchestrator.log
env PYTHONUNBUFFERED=1 LAUNCH_COMPONENT=orchestrator LAUNCH_RUN_DIR=/runs/otter LAUNCH_ATTEMPT=1 \
    LAUNCH_LOG_LEVEL=INFO CUDA_VISIBLE_DEVICES= /venv/bin/python -m launcher.workload.orchestrator \
    @ /runs/otter/configs/orchestrator.toml

# inference-0: GPU 6
#   log /runs/otter/logs/attempt_1/inference-0.log
#   ready when http://127.0.0.1:4321/health answers, within 600s
#   failed when http://127.0.0.1:4321/health has not answered 3 times in a row, asked every 10s
env PYTHONUNBUFFERED=1 LAUNCH_COMPONENT=inference-0 LAUNCH_RUN_DIR=/runs/otter LAUNCH_ATTEMPT=1 \
    LAUNCH_LOG_LEVEL=INFO CUDA_VISIBLE_DEVICES=6 OMP_NUM_THREADS=1 /venv/bin/python \
    -m launcher.workload.inference @ /runs/otter/configs/inference-0.toml

# inference-1: GPU 7
#   log /runs/otter/logs/attempt_1/inference-1.log
#   ready when http://127.0.0.1:4322/health answers, within 600s
#   failed when http://127.0.0.1:4322/health has not answered 3 times in a row, asked every 10s
env PYTHONUNBUFFERED=1 LAUNCH_COMPONENT=inference-1 LAUNCH_RUN_DIR=/runs/otter LAUNCH_ATTEMPT=1 \
    LAUNCH_LOG_LEVEL=INFO CUDA_VISIBLE_DEVICES=7 OMP_NUM_THREADS=1 /venv/bin/python \
    -m launcher.workload.inference @ /runs/otter/configs/inference-1.toml
