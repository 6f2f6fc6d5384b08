"""Constellation runs PyTorch models over satellite imagery on the GPUs you own."""
