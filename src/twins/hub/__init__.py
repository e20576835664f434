"""Folders to publish: `config.json`, `model.safetensors` and a model card, as the Hugging Face hub and timm read them.

This is the writing half; `checkpoints.model_folder` reads such folders wherever a checkpoint is taken.
"""
