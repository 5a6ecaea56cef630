# One image for every role; the command chooses. CUDA's libraries come with torch's wheels.
FROM python:3.12-slim-bookworm AS installed

RUN useradd --uid 10001 --create-home app && install -d -o app -g app /photos /models
WORKDIR /app
COPY requirements.txt ./
RUN python -m pip install --no-cache-dir uv==0.13.8 \
 && uv pip install --system --no-cache --no-deps --compile-bytecode --require-hashes -r requirements.txt

# lit-html, which the page is drawn with: checked against the lock of jars.
FROM installed AS page
COPY core core
COPY standalone standalone
RUN python -m standalone.lit_html /lit-html.jar

FROM installed
COPY --from=page /lit-html.jar /app/lit-html.jar
COPY photo_archive photo_archive
COPY core core
COPY schemas schemas
COPY consumers consumers
COPY producers producers
COPY ingress ingress
COPY migrations migrations
COPY alembic.ini pyproject.toml requirements.in README.md LICENSE ./
# The command, built by the lock's own setuptools; the processes run from here all the same.
RUN uv pip install --system --no-cache --no-deps --no-build-isolation -C editable_mode=compat --editable . \
 && python -m compileall -q photo_archive core schemas consumers producers ingress migrations
USER app
# Everything is compiled above: the user of the roles could not keep what it compiles.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 INGRESS_LIT_HTML=/app/lit-html.jar
CMD ["python", "-m", "ingress"]
