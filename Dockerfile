# CPU:  docker build -t dapa .
# CUDA: docker build -t dapa --build-arg TORCH=cu130 .   (and run with --gpus all)
# Run:  docker run -p 127.0.0.1:7860:7860 -e DAPA_AUTH=me:secret -v dapa-runs:/home/dapa/runs dapa
FROM python:3.11-slim

# torch's wheel index: cpu, or a CUDA version such as cu130; the wheels bring the CUDA libraries.
ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 \
    GRADIO_ANALYTICS_ENABLED=0 HF_HUB_DISABLE_TELEMETRY=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

RUN useradd --create-home --uid 1000 dapa
WORKDIR /home/dapa
RUN pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/${TORCH}
COPY requirements.txt ./
RUN pip install -r requirements.txt
COPY --chown=dapa . .
RUN install -d -o dapa runs
USER 1000
VOLUME /home/dapa/runs
EXPOSE 7860

# Browsers call it localhost; another name is given as -e DAPA_ALLOW_HOST=name.
# It listens on every address, so it refuses to start without a user and a password.
CMD ["sh", "-c", "exec python app.py --host 0.0.0.0 --port 7860 --auth \"${DAPA_AUTH:?give -e DAPA_AUTH=user:password}\""]
