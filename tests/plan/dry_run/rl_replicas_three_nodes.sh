# rl run otter, attempt 1, node 0 of 3, in /runs/otter
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
    --redirects=3 --tee=3 --logs-specs=launch -m launcher.workload.rl \
    @ /runs/otter/configs/trainer.toml

# orchestrator: no GPU
#   log /runs/otter/logs/attempt_1/node_0/orchestrator.log
env PYTHONUNBUFFERED=1 LAUNCH_COMPONENT=orchestrator LAUNCH_RUN_DIR=/runs/otter LAUNCH_ATTEMPT=1 \
    LAUNCH_LOG_LEVEL=INFO LAUNCH_NODE=0 CUDA_VISIBLE_DEVICES= /venv/bin/python \
    -m launcher.workload.orchestrator @ /runs/otter/configs/orchestrator.toml


# rl run otter, attempt 1, node 1 of 3, in /runs/otter
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
    --redirects=3 --tee=3 --logs-specs=launch -m launcher.workload.rl \
    @ /runs/otter/nodes/node_1/configs/trainer.toml


# rl run otter, attempt 1, node 2 of 3, in /runs/otter
# nothing is written; add --output-dir DIR to write the configurations, so that each line can be run

# inference-0: GPU 0,1
#   log /runs/otter/logs/attempt_1/node_2/inference-0.log
#   ready when http://127.0.0.1:4321/health answers, within 600s
#   failed when http://127.0.0.1:4321/health has not answered 3 times in a row, asked every 10s
env PYTHONUNBUFFERED=1 LAUNCH_COMPONENT=inference-0 LAUNCH_RUN_DIR=/runs/otter LAUNCH_ATTEMPT=1 \
    LAUNCH_LOG_LEVEL=INFO LAUNCH_NODE=2 CUDA_VISIBLE_DEVICES=0,1 OMP_NUM_THREADS=1 /venv/bin/python \
    -m launcher.workload.inference @ /runs/otter/nodes/node_2/configs/inference-0.toml

# inference-1: GPU 2,3
#   log /runs/otter/logs/attempt_1/node_2/inference-1.log
#   ready when http://127.0.0.1:4322/health answers, within 600s
#   failed when http://127.0.0.1:4322/health has not answered 3 times in a row, asked every 10s
env PYTHONUNBUFFERED=1 LAUNCH_COMPONENT=inference-1 LAUNCH_RUN_DIR=/runs/otter LAUNCH_ATTEMPT=1 \
    LAUNCH_LOG_LEVEL=INFO LAUNCH_NODE=2 CUDA_VISIBLE_DEVICES=2,3 OMP_NUM_THREADS=1 /venv/bin/python \
    -m launcher.workload.inference @ /runs/otter/nodes/node_2/configs/inference-1.toml

# inference-2: GPU 4,5
#   log /runs/otter/logs/attempt_1/node_2/inference-2.log
#   ready when http://127.0.0.1:4323/health answers, within 600s
#   failed when http://127.0.0.1:4323/health has not answered 3 times in a row, asked every 10s
env PYTHONUNBUFFERED=1 LAUNCH_COMPONENT=inference-2 LAUNCH_RUN_DIR=/runs/otter LAUNCH_ATTEMPT=1 \
    LAUNCH_LOG_LEVEL=INFO LAUNCH_NODE=2 CUDA_VISIBLE_DEVICES=4,5 OMP_NUM_THREADS=1 /venv/bin/python \
    -m launcher.workload.inference @ /runs/otter/nodes/node_2/configs/inference-2.toml

# inference-3: GPU 6,7
#   log /runs/otter/logs/attempt_1/node_2/inference-3.log
#   ready when http://127.0.0.1:4324/health answers, within 600s
#   failed when http://127.0.0.1:4324/health has not answered 3 times in a row, asked every 10s
env PYTHONUNBUFFERED=1 LAUNCH_COMPONENT=inference-3 LAUNCH_RUN_DIR=/runs/otter LAUNCH_ATTEMPT=1 \
    LAUNCH_LOG_LEVEL=INFO LAUNCH_NODE=2 CUDA_VISIBLE_DEVICES=6,7 OMP_NUM_THREADS=1 /venv/bin/python \
    -m launcher.workload.inference @ /runs/otter/nodes/node_2/configs/inference-3.toml
