"""Fine-tunes the tiny networks of the golden files for 200 steps with PyTorch, and writes the curves of the loss.

    pip install torch safetensors transformers pillow tokenizers
    python tests/reference/finetune_golden.py [ADAPTERS]        writes tests/golden/finetune.safetensors

A run starts at the weights of `jit_tiny.safetensors` or `uvit_tiny.pth`. Below `jit.` and `uvit.` the file holds `images`
and `noise`, from which every step takes four of each by the rows of `image_at` and `noise_at`; `level` (the time t of a
JiT, the step index of a U-ViT) and `class` of each; and what came of it: `losses` and `norms` (of the gradient, before it
is clipped) of every step.

The optimizer is that of `mm train` with the settings below: AdamW with bias correction and epsilon 1e-8, which decays
matrices and convolutions and leaves alone biases, norms, embeddings and whatever belongs to the last norm; a gradient
longer than 1 is shortened to 1; the learning rate rises for 10 steps and falls as half a cosine to a tenth.
"""

import math
import pathlib
import sys

import fuyu_golden
import jit_golden
import torch
import uvit_golden
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import FuyuForCausalLM, FuyuProcessor, PreTrainedTokenizerFast

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
FILE = GOLDEN / "finetune.safetensors"
STEPS, BATCH, IMAGES, NOISES = 200, 4, 16, 64
LR, FINAL, WARMUP, BETAS, DECAY, CLIP = 1e-3, 0.1, 10, (0.9, 0.95), 0.05, 1.0


def rate(step):
    if step < WARMUP:
        return LR * (step + 1) / WARMUP
    cosine = (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))) / 2
    return LR * (FINAL + (1 - FINAL) * cosine)


def is_decayed(name):
    others = ("norm", "embedding_table", "label_emb", "final_layer.adaLN")
    return name.endswith(".weight") and not any(other in name for other in others)


def curves(net, loss_of, is_decayed=is_decayed):
    """Losses and norms of the gradient over a run whose loss at a step is `loss_of(step)`."""
    trained = [(name, weight) for name, weight in net.named_parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for name, weight in trained if is_decayed(name)], "weight_decay": DECAY},
        {"params": [weight for name, weight in trained if not is_decayed(name)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=1e-8)
    losses, norms = [], []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.zero_grad()
        loss = loss_of(step)
        loss.backward()
        norm = sum((weight.grad.double() ** 2).sum() for _, weight in trained).sqrt().item()
        for _, weight in trained:
            weight.grad *= min(1.0, CLIP / norm)
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm)
    print(f"loss {losses[0]:.4f} -> {sum(losses[-20:]) / 20:.4f}, norms {min(norms):.3f} to {max(norms):.3f}")
    return {"losses": torch.tensor(losses), "norms": torch.tensor(norms)}


def slopes(side):
    """Smooth images in numbers that 16 bits hold."""
    across = torch.linspace(-1, 1, side)
    tilt = torch.randn(IMAGES, 3, 2)
    images = tilt[..., :1, None] * across[:, None] + tilt[..., 1:, None] * across
    return images.clamp(-1, 1).half()


def batches(side, classes):
    pick = lambda most: torch.randint(most, (STEPS, BATCH))  # noqa: E731
    return {
        "images": slopes(side), "noise": torch.randn(NOISES, 3, side, side).half(),
        "image_at": pick(IMAGES), "noise_at": pick(NOISES), "class": pick(classes),
    }  # fmt: skip


def picked(run, step):
    return run["images"].float()[run["image_at"][step]], run["noise"].float()[run["noise_at"][step]]


def jit():
    weights = load_file(GOLDEN / "jit_tiny.safetensors")
    net = jit_golden.Jit()
    net.load_state_dict({name[8:]: value for name, value in weights.items() if name.startswith("weights.")})
    run = batches(jit_golden.SIDE, jit_golden.CLASSES + 1)  # the last class is none
    run["level"] = torch.sigmoid(0.8 * torch.randn(STEPS, BATCH) - 0.8)

    def loss_of(step):
        (clean, noise), t = picked(run, step), run["level"][step]
        level = t[:, None, None, None]
        z = level * clean + (1 - level) * noise
        error = (clean - net(z, t, run["class"][step])) / (1 - level).clamp_min(jit_golden.LEAST)
        return (error**2).mean()

    return run | curves(net, loss_of)


def uvit():
    net = uvit_golden.Uvit()
    weights = torch.load(GOLDEN / "uvit_tiny.pth", weights_only=True)
    net.load_state_dict({name: value.float() for name, value in weights.items()})
    run = batches(uvit_golden.SIDE, uvit_golden.CLASSES)
    run["level"] = torch.randint(1000, (STEPS, BATCH))

    def loss_of(step):
        (clean, noise), t = picked(run, step), (run["level"][step] + 1) / 1000
        squared = torch.tensor([uvit_golden.signal_squared(time.item()) for time in t])[:, None, None, None]
        z = squared.sqrt() * clean + (1 - squared).sqrt() * noise
        return ((net(z, 999 * t, run["class"][step]) - noise) ** 2).mean()

    return run | curves(net, loss_of)


ANSWERS = ["a cat", "the mat", "a cat is on the mat", "on"]
MATRICES = {
    "self_attn.query_key_value": "qkv_proj", "self_attn.dense": "out_proj",
    "mlp.dense_h_to_4h": "gate_up_proj", "mlp.dense_4h_to_h": "down_proj",
}  # fmt: skip


class Adapted(nn.Module):
    """A linear map with two factors beside it: x W + b + 4 / 2 x A B."""

    def __init__(self, linear, a):
        super().__init__()
        self.linear, self.a = linear, nn.Parameter(a.clone())
        self.b = nn.Parameter(torch.zeros(a.shape[1], linear.out_features))

    def forward(self, x):
        return self.linear(x) + 2.0 * (x @ self.a) @ self.b


def fuyu(factors):
    """`factors` by our names."""
    net = FuyuForCausalLM.from_pretrained(GOLDEN / "fuyu", attn_implementation="eager", dtype=torch.float32)
    net.requires_grad_(False)
    for index, layer in enumerate(net.model.language_model.layers):
        for theirs, ours in MATRICES.items():
            half, name = theirs.split(".")
            half = getattr(layer, half)
            a = factors[f"backbone.blocks.{index}.{ours}.weight.lora.a"]
            setattr(half, name, Adapted(getattr(half, name), a))
    images = torch.stack([torch.from_numpy(fuyu_golden.waves_image(100, 77, seed)) for seed in (5, 6, 7)])
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "|ENDOFTEXT|"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(GOLDEN / "fuyu/tokenizer.json"), **names)
    processor = FuyuProcessor(fuyu_golden.Processor(size={"height": 90, "width": 120}), tokenizer)
    asked = []
    for pixels in images:
        inputs = processor(
            images=Image.fromarray(pixels.numpy()), text=fuyu_golden.TEXT, return_legacy_image_output=False, return_tensors="pt")
        patches = inputs["pixel_values"].float()
        asked.append((inputs["input_ids"].reshape(1, -1), patches.reshape(1, -1, patches.shape[-1])))
    end = tokenizer.get_vocab()["|ENDOFTEXT|"]
    answers = [[*tokenizer(text, add_special_tokens=False)["input_ids"], end] for text in ANSWERS]
    pick = lambda most: torch.randint(most, (STEPS, 2))  # noqa: E731
    run = {"images": images, "image_at": pick(len(images)), "answer_at": pick(len(answers))}

    def loss_of(step):
        total, count = 0, 0
        for image, answer in zip(run["image_at"][step], run["answer_at"][step]):
            (ids, patches), answer = asked[image], torch.tensor(answers[answer])
            logits = net(input_ids=torch.cat([ids, answer[None]], 1), pixel_values=patches).logits[0]
            total = total + nn.functional.cross_entropy(logits[ids.shape[1] - 1 : -1], answer, reduction="sum")
            count += len(answer)
        return total / count

    return run | curves(net, loss_of, lambda name: name.endswith((".a", ".b"))) | factors


def main():
    torch.manual_seed(7)
    torch.set_num_threads(1)
    factors = load_file(sys.argv[1] if len(sys.argv) > 1 else FILE)
    factors = {name.removeprefix("fuyu."): value for name, value in factors.items() if name.endswith(".lora.a")}
    runs = {"jit": jit(), "uvit": uvit(), "fuyu": fuyu(factors)}
    tensors = {f"{name}.{part}": value for name, run in runs.items() for part, value in run.items()}
    tensors = {name: value.int() if value.dtype == torch.int64 else value for name, value in tensors.items()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, FILE)


if __name__ == "__main__":
    main()
