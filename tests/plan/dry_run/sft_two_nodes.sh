# sft run otter, attempt 1, node 0 of 2, in /runs/otter
# nothing is written; add --output-dir DIR to write the configurations, so that each line can be run

# trainer: GPU 0,1,2,3,4,5,6,7, 8 ranks under torchrun
#   log /runs/otter/logs/attempt_1/node_0/trainer.log
#   ranks /runs/otter/logs/attempt_1/node_0/torchrun/otter-1/attempt_0/RANK/{stdout,stderr}.log
env PYTHONUNBUFFERED=1 LAUNCH_COMPONENT=trainer LAUNCH_RUN_DIR=/runs/otter LAUNCH_ATTEMPT=1 \
    LAUNCH_LOG_LEVEL=INFO LAUNCH_NODE=0 CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6,7 OMP_NUM_THREADS=1 \
    TORCH_FR_BUFFER_SIZE=2000 TORCH_NCCL_DUMP_ON_TIMEOUT=1 \
    TORCH_FR_DUMP_TEMP_FILE=/runs/otter/logs/attempt_1/node_0/flight_recorder/rank_ \
    TORCH_NCCL_DEBUG_INFO_PIPE_FILE=/runs/otter/logs/attempt_1/node_0/flight_recorder/rank_ \
    /venv/bin/python -m torch.distributed.run --nproc-per-node=8 --rdzv-id=otter-1 \
    --log-dir=/runs/otter/logs/attempt_1/node_0/torchrun --local-ranks-filter=0 --nnodes=2 \
    --node-rank=0 --rdzv-backend=static --rdzv-endpoint=gpu0:29500 --max-restarts=0 --role=trainer \
    --redirects=3 --tee=3 --logs-specs=launch -m launcher.workload.sft \
    @ /runs/otter/configs/trainer.toml


# sft run otter, attempt 1, node 1 of 2, in /runs/otter
# nothing is written; add --output-dir DIR to write the configurations, so that each line can be run

# trainer: GPU 0,1,2,3,4,5,6,7, 8 ranks under torchrun
#   log /runs/otter/logs/attempt_1/node_1/trainer.log
#   ranks /runs/otter/logs/attempt_1/node_1/torchrun/otter-1/attempt_0/RANK/{stdout,stderr}.log
env PYTHONUNBUFFERED=1 LAUNCH_COMPONENT=trainer LAUNCH_RUN_DIR=/runs/otter LAUNCH_ATTEMPT=1 \
    LAUNCH_LOG_LEVEL=INFO LAUNCH_NODE=1 CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6,7 OMP_NUM_THREADS=1 \
    TORCH_FR_BUFFER_SIZE=2000 TORCH_NCCL_DUMP_ON_TIMEOUT=1 \
    TORCH_FR_DUMP_TEMP_FILE=/runs/otter/logs/attempt_1/node_1/flight_recorder/rank_ \
    TORCH_NCCL_DEBUG_INFO_PIPE_FILE=/runs/otter/logs/attempt_1/node_1/flight_recorder/rank_ \
    /venv/bin/python -m torch.distributed.run --nproc-per-node=8 --rdzv-id=otter-1 \
    --log-dir=/runs/otter/logs/attempt_1/node_1/torchrun --local-ranks-filter=0 --nnodes=2 \
    --node-rank=1 --rdzv-backend=static --rdzv-endpoint=gpu0:29500 --max-restarts=0 --role=trainer \
    --redirects=3 --tee=3 --logs-specs=launch -m launcher.workload.sft \
    @ /runs/otter/nodes/node_1/configs/trainer.toml
