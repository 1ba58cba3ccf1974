"""This is the PyTorch side of `cargo xtask bench --against-torch`: the networks of `mm bench`
(crates/mm-cli/src/commands/bench/network.rs), trained with fused Adam, and sampled behind a cached
prompt. It prints one JSON object.

    python bench.py SHAPE --threads N --steps N --mode eager|sdpa|compile|compile-sdpa [--bf16]
                    [--device cpu|cuda]

With --bf16 the forward pass runs under autocast to bfloat16. The U-Net (the recipe baseline-unet)
and the codec (the recipe codec-kl, as diffusers' AutoencoderKL: `pip install diffusers`) have their
channels last in memory with `eager` and `compile`, first with the others.
"""

import argparse
import json
import resource
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

PATCH, KEY = 48, 128
# width, depth, rows, (tokens before, patches, tokens after) of a document, documents in a row, tokens behind them
SHAPES = {
    "gau-256": (256, 8, 32, (0, 64, 0), 1, 0),
    "gau-768": (768, 2, 4, (0, 256, 0), 1, 0),
    "packed": (384, 6, 4, (16, 64, 16), 5, 32),
    "sampling": (256, 8, 32, (0, 64, 0), 1, 0),
}
# width, growth, blocks of a level, groups, images, side, smallest side
UNET = (16, (1, 2, 5, 7), 2, 8, 16, 64, 4)
# channels of the levels, layers of a level, groups, latent channels, images, side, weight of the latents
CODEC = ((16, 32, 48), 1, 8, 4, 16, 32, 1e-4)
IMAGES, PROMPT, SAMPLING_STEPS = 16, 24, 10


class Gau(nn.Module):
    def __init__(self, width, sdpa):
        super().__init__()
        self.expanded, self.sdpa = 2 * width, sdpa
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.in_proj = nn.Linear(width, 2 * self.expanded + KEY, bias=False)
        self.gamma = nn.Parameter(torch.ones(2, KEY))
        self.out = nn.Linear(self.expanded, width, bias=False)

    def forward(self, x, cos, sin, mask, past=None):
        u, v, z = F.silu(self.in_proj(self.norm(x))).split([self.expanded, self.expanded, KEY], -1)

        def rotate(t):
            a, b = t.chunk(2, -1)
            return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

        q, k = rotate(z * self.gamma[0]), rotate(z * self.gamma[1])
        new = (k, v)
        if past is not None:
            k, v = torch.cat([past[0], k], 1), torch.cat([past[1], v], 1)
        if self.sdpa:
            m = None if mask is None else mask[:, None]
            o = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], attn_mask=m)[:, 0]
        else:
            s = q @ k.transpose(1, 2) * KEY**-0.5
            if mask is not None:
                s = s.masked_fill(~mask, float("-inf"))
            o = torch.softmax(s, -1) @ v
        return x + self.out(u * o), new


class Net(nn.Module):
    def __init__(self, width, depth, sdpa):
        super().__init__()
        self.inp = nn.Linear(PATCH, width, bias=False)
        self.layers = nn.ModuleList([Gau(width, sdpa) for _ in range(depth)])
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.out = nn.Linear(width, PATCH, bias=False)

    def forward(self, x, cos, sin, mask, past=None):
        h, new = self.inp(x), []
        for i, layer in enumerate(self.layers):
            h, kv = layer(h, cos, sin, mask, None if past is None else past[i])
            new.append(kv)
        return self.out(self.norm(h)), new


class Residual(nn.Module):
    def __init__(self, width, inputs, outputs, groups):
        super().__init__()
        self.time = nn.Linear(width, inputs, bias=False)
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()
        self.norm = nn.GroupNorm(groups, outputs, eps=1e-6)

    def forward(self, x, time):
        h = F.silu(self.first(x + self.time(time)[:, :, None, None]))
        return self.norm(self.shortcut(x) + F.silu(self.second(h)))


class UNet(nn.Module):
    """Adds what the way down made on the way up, as crates/mm-model/src/networks/unet.rs does."""

    def __init__(self):
        super().__init__()
        width, growth, blocks, groups, _, side, smallest = UNET
        self.time = nn.Embedding(1000, width)
        self.first = nn.Conv2d(3, width, 3, padding=1, bias=False)
        before, self.down, self.up = width, nn.ModuleList(), nn.ModuleList()

        def chain(outputs):
            nonlocal before
            made = nn.ModuleList()
            for outputs in outputs:
                made.append(Residual(width, before, outputs, groups))
                before = outputs
            return made

        for level in growth:
            self.down.append(chain([level * width] * blocks))
        self.middle = chain([growth[-1] * width])[0]
        for at in reversed(range(len(growth))):
            last = width if at == 0 else growth[at - 1] * width
            self.up.append(chain([growth[at] * width] * (blocks - 1) + [last]))
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.last = nn.Conv2d(width, 3, 3, padding=1, bias=False)
        self.halves = [side >> level > smallest for level in range(len(growth))]

    def forward(self, x, steps):
        time, x = self.time(steps), self.first(x)
        levels = []
        for blocks, halves in zip(self.down, self.halves):
            kept = [x]
            for block in blocks:
                x = block(x, time)
                kept.append(x)
            if halves:
                x = F.avg_pool2d(x, 2)
            else:
                kept.pop()
            levels.append((kept, halves))
        x = self.middle(x, time)
        for blocks, (kept, halves) in zip(self.up, reversed(levels)):
            if halves:
                x = F.interpolate(x, scale_factor=2, mode="nearest") + kept.pop()
            for block in blocks:
                x = block(x, time) + kept.pop()
        return self.last(self.norm(x))


class Codec(nn.Module):
    """Encodes, draws latents and decodes, as crates/mm-codec/src/kl.rs does."""

    def __init__(self):
        super().__init__()
        from diffusers import AutoencoderKL

        channels, layers, groups, latent, *_ = CODEC
        levels = len(channels)
        self.net = AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * levels, up_block_types=["UpDecoderBlock2D"] * levels,
            block_out_channels=channels, layers_per_block=layers, norm_num_groups=groups, latent_channels=latent)

    def forward(self, x, noise):
        found = self.net.encode(x).latent_dist
        return self.net.decode(found.mean + found.std * noise).sample, found.mean, found.logvar


def row_mask(document, documents, rest):
    """None where every token sees every other, else [1, tokens, tokens], true = may attend."""
    before, patches, after = document
    n = documents * sum(document) + rest
    if documents == 1 and before + after + rest == 0:
        return None
    mask, start = torch.zeros(n, n, dtype=torch.bool), 0
    for size in [sum(document)] * documents + [rest]:
        end = start + size
        mask[start:end, start:end] = torch.ones(size, size).tril().bool()
        if size == sum(document):
            a, b = start + before, start + before + patches
            mask[a:b, a:b] = True
        start = end
    return mask[None]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("shape", choices=[*SHAPES, "unet", "codec"])
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--mode", default="eager")
    p.add_argument("--bf16", action="store_true")
    p.add_argument("--device", default="cpu")
    a = p.parse_args()
    torch.set_default_device(a.device)
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    width, depth, rows, document, documents, rest = SHAPES.get(a.shape, SHAPES["gau-256"])
    of_images = {"unet": UNet, "codec": Codec}.get(a.shape)
    net = of_images() if of_images else Net(width, depth, "sdpa" in a.mode)
    layout = torch.contiguous_format if "sdpa" in a.mode else torch.channels_last
    net = net.to(memory_format=layout) if of_images else net
    run = torch.compile(net) if "compile" in a.mode else net
    tokens = documents * sum(document) + rest
    angles = lambda n: (torch.rand(1, n, KEY // 2), torch.rand(1, n, KEY // 2))
    seconds = []
    narrow = lambda: torch.autocast("cpu", torch.bfloat16, enabled=a.bf16)

    def timed(step, warm):
        for i in range(a.steps + warm):
            start = time.perf_counter()
            step()
            if a.device != "cpu":
                torch.cuda.synchronize()
            if i >= warm:
                seconds.append(time.perf_counter() - start)

    def learn(loss, optimizer):
        loss.item()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    if a.shape == "sampling":
        words, noise = torch.randn(2 * IMAGES, PROMPT, PATCH), torch.randn(IMAGES, document[1], PATCH)
        (c0, s0), (c1, s1) = angles(PROMPT), angles(document[1])
        causal = torch.ones(PROMPT, PROMPT).tril().bool()[None]

        @torch.no_grad()
        def step():
            with narrow():
                _, past = run(words, c0, s0, causal)
            z = noise
            for i in range(SAMPLING_STEPS):
                with narrow():
                    clean, _ = run(torch.cat([z, z]), c1, s1, None, past)
                w, wo = clean.float().chunk(2)
                clean = wo + (w - wo) * 3.0
                z = z + (clean - z) / (SAMPLING_STEPS - i)
            z[0, 0, 0].item()

        timed(step, 2)
    elif a.shape == "unet":
        images, side = UNET[4], UNET[5]
        x, target = (torch.randn(images, 3, side, side).to(memory_format=layout) for _ in range(2))
        steps = torch.randint(1000, (images,))
        optimizer = torch.optim.AdamW(net.parameters(), 1e-4, fused=True)

        def step():
            with narrow():
                y = run(x, steps)
            loss = ((y.float() - target) ** 2).mean()
            learn(loss, optimizer)

        timed(step, 3)
    elif a.shape == "codec":
        latent, images, side, weight = CODEC[3:]
        x = torch.randn(images, 3, side, side).to(memory_format=layout)
        cells = side >> (len(CODEC[0]) - 1)
        noise = torch.randn(images, latent, cells, cells)
        optimizer = torch.optim.AdamW(net.parameters(), 1e-3, fused=True)

        def step():
            with narrow():
                y, mean, logvar = run(x, noise)
            mean, logvar = mean.float(), logvar.float()
            kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum([1, 2, 3]).mean()
            loss = ((y.float() - x) ** 2).mean() + weight * kl
            learn(loss, optimizer)

        timed(step, 3)
    else:
        x, target = torch.randn(rows, tokens, PATCH), torch.randn(rows, tokens, PATCH)
        cos, sin = angles(tokens)
        mask = row_mask(document, documents, rest)
        optimizer = torch.optim.Adam(net.parameters(), 1e-4, fused=True)

        def step():
            with narrow():
                y, _ = run(x, cos, sin, mask)
            loss = ((y.float() - target) ** 2).mean()
            learn(loss, optimizer)

        timed(step, 3)
    seconds.sort()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"shape": a.shape, "mode": a.mode, "bf16": a.bf16, "threads": a.threads, "seconds": seconds,
                      "median": seconds[len(seconds) // 2], "peak_mib": peak, "device": a.device, "torch": torch.__version__}))


main()
