"""Fine-tunes the tiny networks of the golden files for 200 steps with PyTorch, and writes the curves of the loss.

    pip install torch safetensors transformers diffusers pillow tokenizers
    python tests/reference/finetune_golden.py [ADAPTERS]        writes tests/golden/finetune.safetensors

A run starts at the weights of the golden files. Below `jit.`, `uvit.` and `dit.` the file holds `images` and `noise`, from
which every step takes four of each by the rows of `image_at` and `noise_at`; `level` (the time t of a JiT, the step index
of a U-ViT or DiT) and `class` of each; and what came of it: `losses` and `norms` (of the gradient, before it is clipped)
of every step. The images of a DiT are bytes, which its autoencoder encodes; `posterior_noise`, picked by `offset_at`, says
where in their Gaussians the latents lie. Its loss is of the noise alone, not of the learned variance.

A Fuyu is tuned by adapters of rank 2 and alpha 4 on all matrices of its blocks, with two questions about an image in a
step. Their first factors are drawn by `mm`, and are read from the first checkpoint of a run, ADAPTERS, or from the file
that is there. Below `fuyu.` the file holds `images`, `image_at`, `answer_at` (of ANSWERS), `losses`, `norms`, and the
factors by our names. ADAPTERS is made by

    mm import hf tests/golden/fuyu --out F
    mm train F/recipe.toml --init F --out R --steps 1 --set seed=3 --set optimizer.lora.rank=2

and is then R/checkpoints/step-000000000/average.safetensors.

The optimizer is that of `mm train` with the settings below: AdamW with bias correction and epsilon 1e-8, which decays
matrices and convolutions and leaves alone biases, norms, embeddings and whatever belongs to the last norm or to the
embedding of the time in a DiT; a gradient longer than 1 is shortened to 1; the learning rate rises for 10 steps and falls
as half a cosine to a tenth.
"""

import json
import math
import pathlib
import sys

import fuyu_golden
import jit_golden
import torch
import uvit_golden
from diffusers import AutoencoderKL, DDIMScheduler, DiTTransformer2DModel
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import FuyuForCausalLM, FuyuProcessor, PreTrainedTokenizerFast

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
FILE = GOLDEN / "finetune.safetensors"
STEPS, BATCH, IMAGES, NOISES = 200, 4, 16, 64
LR, FINAL, WARMUP, BETAS, DECAY, CLIP = 1e-3, 0.1, 10, (0.9, 0.95), 0.05, 1.0


def rate(step, lr):
    if step < WARMUP:
        return lr * (step + 1) / WARMUP
    cosine = (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))) / 2
    return lr * (FINAL + (1 - FINAL) * cosine)


def is_decayed(name):
    if name.endswith("norm1.linear.weight"):  # of a DiT: the map of a modulation
        return True
    others = ("norm", "embed", "label_emb", "final_layer.adaLN", "proj_out_1")
    if name.startswith(("pos_embed.proj", "x_embedder", "t_embedder", "patch_embed")):  # maps of patches and of the time
        others = ()
    return name.endswith(".weight") and not any(other in name for other in others)


def curves(net, loss_of, is_decayed=is_decayed, lr=LR):
    """Losses and norms of the gradient over a run whose loss at a step is `loss_of(step)`."""
    trained = [(name, weight) for name, weight in net.named_parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for name, weight in trained if is_decayed(name)], "weight_decay": DECAY},
        {"params": [weight for name, weight in trained if not is_decayed(name)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=BETAS, eps=1e-8)
    losses, norms = [], []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, lr)
        optimizer.zero_grad()
        loss = loss_of(step)
        loss.backward()
        grads = [weight.grad for _, weight in trained if weight.grad is not None]
        norm = sum((grad.double() ** 2).sum() for grad in grads).sqrt().item()
        for grad in grads:
            grad *= min(1.0, CLIP / norm)
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


def dit():
    with safe_open(GOLDEN / "dit_tiny.safetensors", "pt") as file:
        configs = json.loads(file.metadata()["configs"])
        weights = {name: file.get_tensor(name) for name in file.keys()}
    below = lambda part: {name[len(part) :]: value for name, value in weights.items() if name.startswith(part)}  # noqa: E731
    net = DiTTransformer2DModel.from_config(json.loads(configs["transformer.config.json"])).eval()
    net.load_state_dict(below("transformer."))
    vae = AutoencoderKL.from_config(json.loads(configs["vae.config.json"])).eval()
    vae.load_state_dict(below("vae."))
    signals = DDIMScheduler.from_config(json.loads(configs["scheduler.scheduler_config.json"])).alphas_cumprod
    pick = lambda most: torch.randint(most, (STEPS, BATCH))  # noqa: E731
    run = {
        "images": ((slopes(16).float() + 1) * 127.5).round().to(torch.uint8),
        "posterior_noise": torch.randn(NOISES, 4, 8, 8).half(), "noise": torch.randn(NOISES, 4, 8, 8).half(),
        "image_at": pick(IMAGES), "offset_at": pick(NOISES), "noise_at": pick(NOISES), "class": pick(1001), "level": pick(1000),
    }  # fmt: skip
    with torch.no_grad():
        posterior = vae.encode(run["images"] / 127.5 - 1).latent_dist

    def loss_of(step):
        at, t = run["image_at"][step], run["level"][step]
        latents = posterior.mean[at] + posterior.std[at] * run["posterior_noise"].float()[run["offset_at"][step]]
        noise = run["noise"].float()[run["noise_at"][step]]
        signal = signals[t][:, None, None, None]
        z = signal.sqrt() * latents * vae.config.scaling_factor + (1 - signal).sqrt() * noise
        found = net(z, timestep=t, class_labels=run["class"][step]).sample[:, :4]
        return ((found - noise) ** 2).mean()

    return run | curves(net, loss_of, lr=10 * LR)  # what it has learned already is near


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
    runs = {"jit": jit(), "uvit": uvit(), "dit": dit(), "fuyu": fuyu(factors)}
    tensors = {f"{name}.{part}": value for name, run in runs.items() for part, value in run.items()}
    tensors = {name: value.int() if value.dtype == torch.int64 else value for name, value in tensors.items()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, FILE)


if __name__ == "__main__":
    main()
