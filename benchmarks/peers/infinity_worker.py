"""infinity's engine, in process and without HTTP: lists of files in, vectors out.

    python infinity_worker.py CONFIG_JSON WEIGHTS BPE_FILE FOLDER

It loads only models in the format of Transformers, so the weights are first converted to it. A line
of JSON on standard input is a request; see `benchmarks.harness.tagging_peers`.
"""

import asyncio
import gzip
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

os.environ |= {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # libraries print to standard output, which must carry only the answers

from infinity_emb import AsyncEmbeddingEngine, EngineArgs  # noqa: E402
from transformers import (  # noqa: E402
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
)

BATCH = 8
MEAN = [0.48145466, 0.4578275, 0.40821073]
STD = [0.26862954, 0.26130258, 0.27577711]
BICUBIC = 3
_PARTS = (
    ("ln_1.", "layer_norm1."),
    ("ln_2.", "layer_norm2."),
    ("attn.out_proj.", "self_attn.out_proj."),
    ("mlp.c_fc.", "mlp.fc1."),
    ("mlp.c_proj.", "mlp.fc2."),
)
_WHOLE = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}


def converted(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return open_clip's tensors under Transformers' names; query, key and value are split."""
    result = {there: weights[here] for here, there in _WHOLE.items()}
    result["visual_projection.weight"] = weights["visual.proj"].T.contiguous()
    result["text_projection.weight"] = weights["text_projection"].T.contiguous()
    for name, tensor in weights.items():
        if ".resblocks." not in name:
            continue
        number, _, inside = name.partition(".resblocks.")[2].partition(".")
        tower = "vision_model" if name.startswith("visual.") else "text_model"
        layer = f"{tower}.encoder.layers.{number}."
        if inside.startswith("attn.in_proj_"):
            kind = inside.removeprefix("attn.in_proj_")
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                result[f"{layer}self_attn.{part}_proj.{kind}"] = rows.contiguous()
        else:
            here, there = next(pair for pair in _PARTS if inside.startswith(pair[0]))
            result[layer + there + inside.removeprefix(here)] = tensor
    return result


def _sizes(config: dict[str, Any], tower: str, heads: int) -> dict[str, Any]:
    sizes = config[tower]
    return {
        "hidden_size": sizes["width"],
        "intermediate_size": sizes["width"] * 4,
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": heads,
        "hidden_act": "quick_gelu" if config.get("quick_gelu") else "gelu",
        "projection_dim": config["embed_dim"],
    }


def save_model(config: dict[str, Any], weights: Path, bpe: Path, folder: Path) -> None:
    """Write the model folder that infinity loads."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    sides = {"image_size": vision["image_size"], "patch_size": vision["patch_size"]}
    lengths = {
        "vocab_size": text["vocab_size"],
        "max_position_embeddings": text["context_length"],
        "eos_token_id": text["vocab_size"] - 1,
        "bos_token_id": text["vocab_size"] - 2,
    }
    model = CLIPModel(
        CLIPConfig(
            vision_config=_sizes(config, "vision_cfg", vision["width"] // 64) | sides,
            text_config=_sizes(config, "text_cfg", text["heads"]) | lengths,
            projection_dim=config["embed_dim"],
        )
    )
    loaded = torch.load(weights, map_location="cpu", weights_only=True)
    missing, left = model.load_state_dict(converted(loaded), strict=False)
    if left or any(not name.endswith("position_ids") for name in missing):
        raise SystemExit(f"weights that do not fit: missing {missing}, left over {left}")
    model.save_pretrained(folder)
    side = vision["image_size"]
    images = CLIPImageProcessor(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        resample=BICUBIC,
        image_mean=MEAN,
        image_std=STD,
    )
    CLIPProcessor(images, _tokenizer(bpe, folder)).save_pretrained(folder)


def _tokenizer(bpe: Path, folder: Path) -> CLIPTokenizer:
    lines = gzip.decompress(bpe.read_bytes()).decode().split("\n")
    merges = lines[1 : 49152 - 256 - 2 + 1]
    codes = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [256 + at for at in range(256 - len(codes))]  # bytes that are no printable character
    letters = [chr(code) for code in (*codes, *others)]
    words = [*letters, *(f"{each}</w>" for each in letters)]
    words += ["".join(merge.split()) for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))


async def answer(folder: Path) -> None:
    """Load, then answer requests until standard input ends."""
    engine = AsyncEmbeddingEngine.from_args(
        EngineArgs(
            model_name_or_path=str(folder),
            engine="torch",
            device="cpu",
            dtype="float32",
            batch_size=BATCH,
            model_warmup=False,
            bettertransformer=False,
        )
    )
    async with engine:
        print(json.dumps({"ready": True}), file=answers)
        while line := await asyncio.to_thread(sys.stdin.readline):
            request = json.loads(line)
            began = time.monotonic()
            images = [Path(file).read_bytes() for file in request["files"]]
            rows, _ = await engine.image_embed(images=images)
            wall = time.monotonic() - began
            np.save(request["output"], np.stack(rows).astype(np.float32))
            print(json.dumps({"wall_s": wall}), file=answers)


if __name__ == "__main__":
    target = Path(sys.argv[4])
    target.mkdir(parents=True, exist_ok=True)
    save_model(json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), target)
    asyncio.run(answer(target))
