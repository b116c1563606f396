#!/bin/sh
# The tests marked cuda and the rows of speed on a GPU, in under ten minutes; writes benchmarks/results/speed_cuda.json.
# Run from the checkout's root, where these are installed: torch with CUDA, torchvision, timm, accelerate, pydantic,
# pandas, scikit-learn, matplotlib, pyyaml, safetensors, tqdm, hypothesis, pytest, and lightly for its row
# (pip install -e '.[test,bench]' brings them all).
set -e
python -m pytest -q -m cuda tests
python -m benchmarks --device cuda --rounds 7 --part loop steps options scaling peers
