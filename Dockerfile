# Two images of the same code: docker build --target=cuda -t NAME . (NVIDIA GPUs), docker build --target=tpu -t NAME . (Cloud TPU)
# The code lies in /app, where scripts/tpu_xpk.sh starts it. Weights, data and runs come by mounted folders, not into the image.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
WORKDIR /app
COPY setup.cfg pyproject.toml README.md LICENSE launch.py ./
COPY configs configs
COPY converters converters
COPY data_pipeline data_pipeline
COPY empatheia_jax empatheia_jax
COPY evaluation evaluation
COPY requirements requirements
ENTRYPOINT []
CMD ["python", "launch.py", "--help"]

FROM base AS cuda
ARG CUDA=cuda12
RUN pip install ".[${CUDA},demo,espeak]"

FROM base AS tpu
RUN pip install ".[tpu,demo,espeak]"
