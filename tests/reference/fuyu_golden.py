"""Makes tests/golden/fuyu with transformers: a tiny random Fuyu as a published folder, and what it computes.

`fuyu_golden.py DIR` needs torch, transformers (5.24 made the files in the repository), tokenizers, pillow.

DIR holds config.json, preprocessor_config.json, tokenizer.json, model.safetensors, and expected.safetensors:
`image` and `large` (bytes of two images), `patches` and `large_patches` (what the processor makes of them, as bytes), `ids` (the prompt with
both), `hidden.K` (hidden states after K layers under the final norm), `logits` of every place, `written` (greedy tokens), `loss` and `grad.NAME`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import FuyuConfig, FuyuForCausalLM, FuyuProcessor, PreTrainedTokenizerFast
from transformers.models.fuyu.image_processing_pil_fuyu import FuyuImageProcessorPil

TEXT = "What is on the mat?\n"
ANSWER = "a cat"
SPECIAL = ["<unk>", "<s>", "</s>"]
WORDS = ["|SPEAKER|", "|NEWLINE|", "|ENDOFTEXT|"]
PIECES = ["▁", "▁What", "▁is", "▁on", "▁the", "▁mat", "▁a", "▁cat", "?"]
END = SPECIAL + WORDS


def make_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    pieces = [(name, 0.0) for name in SPECIAL + WORDS]
    pieces += [(f"<0x{byte:02X}>", -20.0 if byte != 4 else -1.0) for byte in range(256)]
    pieces += [(piece, -2.0) for piece in PIECES]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(path))
    return PreTrainedTokenizerFast(tokenizer_file=str(path), unk_token="<unk>", bos_token="<s>", eos_token="|ENDOFTEXT|")


def picture(width: int, height: int, seed: int) -> np.ndarray:
    """Smooth waves, so that resizing is well defined, with some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x * fx + y * fy + phase) for fx, fy, phase in rng.uniform(0.02, 0.2, (3, 3))]
    pixels = 127.5 + 90 * np.stack(waves, -1) + rng.normal(0, 8, (height, width, 3))
    return pixels.clip(0, 255).astype(np.uint8)


class Processor(FuyuImageProcessorPil):
    """The processor that needs no torchvision; in 5.24 its patches are cut from arrays, while it is given tensors."""

    def patchify_image(self, image, patch_size=None):
        patches = super().patchify_image(np.asarray(image), patch_size)
        return torch.from_numpy(np.ascontiguousarray(patches))[None]


def as_bytes(patches: torch.Tensor) -> torch.Tensor:
    """Numbers in [-1, 1] as the bytes that they came from."""
    found = (patches * 0.5 + 0.5) * 255
    assert (found - found.round()).abs().max() < 1e-3
    return found.round().to(torch.uint8)


def main(folder: Path):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(folder / "tokenizer.json")
    vocab = tokenizer.get_vocab()
    text_config = {
        "model_type": "persimmon", "vocab_size": 400, "hidden_size": 32, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 2, "hidden_act": "relu2", "layer_norm_eps": 1e-5, "max_position_embeddings": 512,
        "rope_parameters": {"rope_theta": 25000.0, "partial_rotary_factor": 0.5, "rope_type": "default"}, "qk_layernorm": True,
        "eos_token_id": vocab["|ENDOFTEXT|"], "bos_token_id": 1,
    }  # fmt: skip
    config = FuyuConfig(text_config=text_config, patch_size=30, image_token_id=vocab["|SPEAKER|"])
    config._attn_implementation = "eager"
    model = FuyuForCausalLM(config).eval()
    for name, parameter in model.named_parameters():  # none is zero or one
        spread = 0.02 if "vision" in name else 0.4 if "embed" in name else 0.25
        parameter.data = torch.randn_like(parameter) * spread + (1.0 if "norm" in name and "weight" in name else 0.0)
        parameter.data = parameter.data.bfloat16().float()  # so that a copy of 16 bits is exact
    model.save_pretrained(folder)
    images = Processor(size={"height": 90, "width": 120})
    preprocessor = {"image_processor_type": "FuyuImageProcessor", "size": {"height": 90, "width": 120}, "patch_size": {"height": 30, "width": 30}}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")
    processor = FuyuProcessor(images, tokenizer)

    expected = {}
    for name, size in {"image": (100, 77), "large": (211, 150)}.items():
        expected[name] = torch.from_numpy(picture(*size, seed=len(name)))
    ask = lambda pixels: processor(images=Image.fromarray(pixels.numpy()), text=TEXT, return_legacy_image_output=False, return_tensors="pt")
    inputs, large = ask(expected["image"]), ask(expected["large"])
    pixels = inputs["pixel_values"].float()
    expected["patches"] = as_bytes(pixels)
    expected["large_patches"] = as_bytes(large["pixel_values"].float())
    ids = inputs["input_ids"].reshape(1, -1)
    expected["ids"] = ids.clone()
    pixels = pixels.reshape(1, -1, pixels.shape[-1])

    with torch.no_grad():
        out = model(input_ids=ids, pixel_values=pixels, output_hidden_states=True)
        norm = model.model.language_model.final_layernorm
        layers = len(model.model.language_model.layers)
        for layer in range(1, layers + 1):
            hidden = out.hidden_states[layer]
            expected[f"hidden.{layer}"] = (hidden if layer == layers else norm(hidden))[0]
        expected["logits"] = out.logits[0]
        # What this program never writes: the tokens that lay out images, and the ends but one.
        never = [vocab[name] for name in ["<unk>", "<s>", "|SPEAKER|", "|NEWLINE|", "<0x04>"]]
        written = model.generate(
            input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False,
            suppress_tokens=never, pad_token_id=0,
        )  # fmt: skip
        expected["written"] = written[0, ids.shape[1] :].clone()
        slow = ids
        for _ in range(len(expected["written"])):  # without a cache
            logits = model(input_ids=slow, pixel_values=pixels).logits[0, -1]
            logits[never] = -torch.inf
            slow = torch.cat([slow, logits.argmax().reshape(1, 1)], 1)
        assert torch.equal(slow[0, ids.shape[1] :], expected["written"]), "cached and uncached generation differ"

    answer = tokenizer(ANSWER, add_special_tokens=False)["input_ids"] + [vocab["|ENDOFTEXT|"]]
    whole = torch.cat([ids, torch.tensor([answer])], 1)
    labels = whole.clone()
    labels[:, : ids.shape[1]] = -100
    loss = model(input_ids=whole, pixel_values=pixels, labels=labels).loss
    loss.backward()
    expected["loss"] = loss.detach().reshape(1)
    expected["answer"] = torch.tensor(answer)
    for name, parameter in model.named_parameters():
        if "layers.1." in name or name == "model.vision_embed_tokens.bias":
            expected[f"grad.{name}"] = parameter.grad
    for name, tensor in expected.items():
        expected[name] = tensor.to(torch.int32).contiguous() if tensor.dtype == torch.int64 else tensor.contiguous()
    save_file(expected, folder / "expected.safetensors")
    print("ids:", ids[0].tolist())
    print("written:", expected["written"].tolist(), repr(tokenizer.decode(expected["written"])), "loss", loss.item())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
