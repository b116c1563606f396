#!/bin/sh
# The tests marked cuda and the rows of speed on a GPU, in under ten minutes by estimate; writes
# benchmarks/results/speed_cuda.json part by part. What a GPU's memory has no room for is a row that says so.
# Run from the checkout's root, where these are installed: torch with CUDA, torchvision, timm, accelerate, pydantic,
# pandas, scikit-learn, matplotlib, pyyaml, safetensors, tqdm, pot, hypothesis, pytest, and lightly for its row
# (pip install -e '.[test,bench]' brings them all). The row of torch.compile wants a C compiler and Python's headers.
python -m pytest -q -m cuda tests
tests=$?
python -m benchmarks --device cuda --part loop steps scaling peers profile options
rows=$?
exit $((tests > rows ? tests : rows))
