"""A folder that vLLM's Python finds on its PYTHONPATH; see launch_vllm_access and launch_vllm_worker."""
