# One image for every role; the command chooses. CUDA's libraries come with torch's wheels.
FROM python:3.12-slim-bookworm

RUN useradd --uid 10001 --create-home app && install -d -o app -g app /photos /models
WORKDIR /app
COPY requirements.txt ./
RUN python -m pip install --no-cache-dir uv==0.13.8 \
 && uv pip install --system --no-cache --no-deps --compile-bytecode --require-hashes -r requirements.txt
COPY core core
COPY schemas schemas
COPY consumers consumers
COPY producers producers
COPY ingress ingress
COPY migrations migrations
COPY alembic.ini pyproject.toml LICENSE ./
RUN python -m compileall -q core schemas consumers producers ingress migrations
USER app
# Everything is compiled above: the user of the roles could not keep what it compiles.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
CMD ["python", "-m", "ingress", "serve"]
