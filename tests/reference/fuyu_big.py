"""A large random file in the shape of Fuyu, and transformers on it, for the table of large models in docs/import.md.

`fuyu_big.py make DIR` writes config.json, tokenizer.json and model.safetensors of two thousand million bfloat16 numbers.
`fuyu_big.py run DIR IMAGE TOKENS` loads the folder with transformers in bfloat16, writes so many tokens after the image, and prints the seconds
and the peak memory. Needs torch, transformers, safetensors, pillow, tokenizers and fuyu_golden.py beside it.
"""

import json
import resource
import struct
import sys
import time
from pathlib import Path

import numpy as np

WIDTH, INNER, LAYERS, HEADS, VOCAB, PATCH = 2560, 10240, 24, 40, 32000, 30
TEXT = "What is on the mat?\n"


def shapes() -> dict[str, list[int]]:
    found = {"vision_embed_tokens.weight": [WIDTH, PATCH * PATCH * 3], "vision_embed_tokens.bias": [WIDTH]}
    found["language_model.lm_head.weight"] = [VOCAB, WIDTH]
    body = "language_model.model."
    found[body + "embed_tokens.weight"] = [VOCAB, WIDTH]
    linear = {
        "self_attn.query_key_value": (3 * WIDTH, WIDTH), "self_attn.dense": (WIDTH, WIDTH),
        "mlp.dense_h_to_4h": (INNER, WIDTH), "mlp.dense_4h_to_h": (WIDTH, INNER),
    }  # fmt: skip
    norms = {"input_layernorm": WIDTH, "post_attention_layernorm": WIDTH, "self_attn.q_layernorm": WIDTH // HEADS, "self_attn.k_layernorm": WIDTH // HEADS}
    for layer in range(LAYERS):
        for name, (outputs, inputs) in linear.items():
            found[f"{body}layers.{layer}.{name}.weight"] = [outputs, inputs]
            found[f"{body}layers.{layer}.{name}.bias"] = [outputs]
        for name, size in norms.items():
            found[f"{body}layers.{layer}.{name}.weight"] = [size]
            found[f"{body}layers.{layer}.{name}.bias"] = [size]
    found[body + "final_layernorm.weight"] = [WIDTH]
    found[body + "final_layernorm.bias"] = [WIDTH]
    return found


def make(folder: Path):
    from fuyu_golden import make_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(folder / "tokenizer.json")
    text = {
        "model_type": "persimmon", "vocab_size": VOCAB, "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "hidden_act": "relu2", "qk_layernorm": True, "eos_token_id": 5, "bos_token_id": 1,
        "rope_parameters": {"rope_theta": 25000.0, "partial_rotary_factor": 0.5, "rope_type": "default"},
    }  # fmt: skip
    config = {"architectures": ["FuyuForCausalLM"], "model_type": "fuyu", "patch_size": PATCH, "image_token_id": tokenizer.get_vocab()["|SPEAKER|"]}
    config |= {"text_config": text, "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes().items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(0)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes().items():
            count = int(np.prod(shape))
            scale = 1.0 if len(shape) == 1 else shape[-1] ** -0.5
            one = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            for start in range(0, count, 1 << 22):
                numbers = rng.standard_normal(min(1 << 22, count - start), dtype=np.float32)
                numbers = numbers * (0.1 * scale if len(shape) == 1 else scale) + one
                file.write((numbers.view(np.uint32) >> 16).astype(np.uint16).tobytes())
    print(f"{at} bytes of weights")


def run(folder: Path, image: Path, tokens: int):
    import torch
    from fuyu_golden import Processor
    from PIL import Image
    from transformers import FuyuForCausalLM, FuyuProcessor, PreTrainedTokenizerFast

    torch.set_num_threads(2)
    start = time.time()
    model = FuyuForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    loaded = time.time()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), unk_token="<unk>", bos_token="<s>", eos_token="|ENDOFTEXT|")
    processor = FuyuProcessor(Processor(), tokenizer)
    inputs = processor(images=Image.open(image).convert("RGB"), text=TEXT, return_legacy_image_output=False, return_tensors="pt")
    ids = inputs["input_ids"].reshape(1, -1)
    pixels = inputs["pixel_values"].to(torch.bfloat16)
    pixels = pixels.reshape(1, -1, pixels.shape[-1])
    never = [tokenizer.get_vocab()[name] for name in ["<unk>", "<s>", "|SPEAKER|", "|NEWLINE|", "<0x04>", "|ENDOFTEXT|"]]
    times = []
    for count in (1, tokens):
        start_of_run = time.time()
        with torch.no_grad():
            out = model.generate(
                input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False,
                suppress_tokens=never, pad_token_id=0,
            )  # fmt: skip
        times.append(time.time() - start_of_run)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rate = (tokens - 1) / max(times[1] - times[0], 1e-9)
    print(f"prompt {ids.shape[1]} tokens; load {loaded - start:.1f} s; load and first token {loaded - start + times[0]:.1f} s; {rate:.2f} tokens/s; peak {peak / 1e6:.2f} GB")
    print("written:", out[0, ids.shape[1] :].tolist())


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]))
    else:
        run(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
