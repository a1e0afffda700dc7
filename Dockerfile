# gcseg on a machine with or without GPUs:
#   docker build -t gcseg .
#   docker run --rm --gpus all --shm-size 8g -v /data:/data -v "$PWD":/work gcseg train CONFIG
FROM python:3.12-slim
# A compiler for --compile, which without one runs uncompiled.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir torch torchvision
COPY . /src/gcseg
# Without a display: OpenCV's headless build has the same modules and needs no graphics libraries.
RUN pip install --no-cache-dir '/src/gcseg[export]' \
    && pip uninstall --yes opencv-python \
    && pip install --no-cache-dir --force-reinstall --no-deps opencv-python-headless
ENV GCSEG_WEIGHTS=/data/weights
WORKDIR /work
ENTRYPOINT ["gcseg"]
