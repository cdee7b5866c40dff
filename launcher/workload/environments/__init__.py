"""Environments of the package `verifiers` (`--task verifiers:NAME`): tools, several turns, rewards of their own.

The package, pinned to what was tested, is imported by nothing outside this folder. verifiers 0.4 plays an episode and
asks a `Client` for each turn of the model; its own client for training does not fit vLLM 0.32, so there is one of ours
(`client.py`). Chats are played within this process (`chat.py`), not by a program for each rollout.
"""
