"""clip-retrieval's own reader and mapper: lists of files in, vectors out.

    python clip_retrieval_worker.py MODEL WEIGHTS WORKERS

A line of JSON on standard input is a request; see `benchmarks.harness.tagging_peers`.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

# libraries print to standard output, which must carry only the answers
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

from all_clip import load_clip  # noqa: E402
from clip_retrieval.clip_inference.mapper import ClipMapper  # noqa: E402
from clip_retrieval.clip_inference.reader import FilesReader  # noqa: E402

BATCH = 8  # larger batches gain nothing on a CPU; 32 was slower


def main() -> None:
    """Load, then answer requests until standard input ends."""
    model, weights, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    name = f"open_clip:{model}/{weights}"
    mapper = ClipMapper(
        enable_image=True,
        enable_text=False,
        enable_metadata=False,
        use_mclip=False,
        clip_model=name,
        use_jit=False,
        mclip_model="",
    )
    _, preprocess, tokenizer = load_clip(clip_model=name, use_jit=False)
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            for number, file in enumerate(request["files"]):  # it reads folders in order of names
                (Path(folder) / f"{number:06}.jpg").symlink_to(file)
            began = time.monotonic()
            reader = FilesReader(
                lambda keys: keys,
                preprocess,
                tokenizer,
                folder,
                BATCH,
                workers,
                enable_text=False,
                enable_image=True,
                enable_metadata=False,
            )
            rows = [mapper(batch)["image_embs"] for batch in reader]
            wall = time.monotonic() - began
        np.save(request["output"], np.concatenate(rows).astype(np.float32))
        print(json.dumps({"wall_s": wall}), file=answers)


if __name__ == "__main__":
    main()
