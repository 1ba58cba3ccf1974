"""A tiny JiT with random weights, by a definition of our own: outputs, a drawing and gradients.

    pip install torch safetensors
    python tests/reference/jit_golden.py        writes tests/golden/jit_tiny.safetensors

The network is written from the paper (Li & He 2025, arXiv:2511.13720, sections 4 and 5 and appendix A); the names and
shapes of its weights are those of the published files (`net.` of the authors' checkpoints left out), so that a reader of
those reads this one. The file holds the weights below `weights.`, then `noisy`, `time`, `class`, `output`, and `hidden.K`, the
tokens behind K blocks on the way to it; `start`,
`drawn` (Heun's method in 10 steps with guidance 3 above t = 0.1); `clean`, `noise`, `loss` and its gradients by weight
below `grads.`; `updated.` weights after a step of AdamW with lr 0.01, betas 0.9 and 0.95, and no decay. Images are
`[images, colors, rows, cols]`.
"""

import math
import pathlib

import torch
from safetensors.torch import save_file
from torch import nn

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
SIDE, PATCH, WIDTH, DEPTH, HEADS, INNER, NARROW, CLASSES, TOKENS, START = 12, 4, 16, 3, 2, 21, 6, 5, 4, 1
LEAST = 0.05


class RmsNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6) * self.weight


def turned(x, places):
    """Rotates pairs of neighboring channels: the first half of a head by the row, the second by the column."""
    quarter = x.shape[-1] // 4
    speed = 10_000.0 ** (-torch.arange(quarter) / quarter)
    angle = torch.cat([places[:, :1] * speed, places[:, 1:] * speed], dim=1)  # [tokens, pairs]
    a, b = x[..., 0::2], x[..., 1::2]
    turned = torch.stack([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=-1)
    return turned.flatten(-2)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_norm, self.k_norm = RmsNorm(WIDTH // HEADS), RmsNorm(WIDTH // HEADS)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x, places):
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        q, k = turned(self.q_norm(q), places), turned(self.k_norm(k), places)
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.w12, self.w3 = nn.Linear(WIDTH, 2 * INNER), nn.Linear(INNER, WIDTH)

    def forward(self, x):
        gate, rest = self.w12(x).chunk(2, -1)
        return self.w3(nn.functional.silu(gate) * rest)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = RmsNorm(WIDTH), Attention(), RmsNorm(WIDTH), Mlp()
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(WIDTH, 6 * WIDTH))

    def forward(self, x, c, places):
        b1, g1, a1, b2, g2, a2 = self.adaLN_modulation(c)[:, None].chunk(6, -1)
        x = x + a1 * self.attn(self.norm1(x) * (1 + g1) + b1, places)
        return x + a2 * self.mlp(self.norm2(x) * (1 + g2) + b2)


class FinalLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm_final, self.linear = RmsNorm(WIDTH), nn.Linear(WIDTH, PATCH * PATCH * 3)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(WIDTH, 2 * WIDTH))

    def forward(self, x, c):
        shift, scale = self.adaLN_modulation(c)[:, None].chunk(2, -1)
        return self.linear(self.norm_final(x) * (1 + scale) + shift)


class PatchEmbedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj1 = nn.Conv2d(3, NARROW, PATCH, PATCH, bias=False)
        self.proj2 = nn.Conv2d(NARROW, WIDTH, 1)

    def forward(self, x):
        return self.proj2(self.proj1(x)).flatten(2).transpose(1, 2)


class TimeEmbedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))

    def forward(self, t):
        angle = t[:, None] * 10_000.0 ** (-torch.arange(128) / 128)
        return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=1))


class ClassEmbedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding_table = nn.Embedding(CLASSES + 1, WIDTH)


def sines(rows, cols, width):
    speed = 10_000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row, col = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    angles = [place.reshape(-1, 1) * speed for place in (col, row)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1).float()


class Jit(nn.Module):
    def __init__(self):
        super().__init__()
        side = SIDE // PATCH
        self.t_embedder, self.y_embedder, self.x_embedder = TimeEmbedder(), ClassEmbedder(), PatchEmbedder()
        self.pos_embed = nn.Parameter(sines(side, side, WIDTH)[None], requires_grad=False)
        self.in_context_posemb = nn.Parameter(0.02 * torch.randn(1, TOKENS, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.final_layer = FinalLayer()
        row, col = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        self.places = torch.stack([row.flatten(), col.flatten()], dim=1).float()

    def forward(self, z, t, y):
        e = self.y_embedder.embedding_table(y)
        c = self.t_embedder(t) + e
        x, places = self.x_embedder(z) + self.pos_embed, self.places
        for index, block in enumerate(self.blocks):
            if index == START:
                x = torch.cat([e[:, None] + self.in_context_posemb, x], dim=1)
                places = torch.cat([torch.zeros(TOKENS, 2), places])
            x = block(x, c, places)
        x = self.final_layer(x[:, TOKENS:], c)
        side = SIDE // PATCH
        x = x.reshape(-1, side, side, PATCH, PATCH, 3).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(-1, 3, SIDE, SIDE)


def with_states(blocks, run):
    """What `run` returns, and the tokens before the first block and behind every block."""
    states = {}

    def before(_, given):
        states["hidden.0"] = given[0]

    def behind(index):
        def keep(_, given, made):
            states[f"hidden.{index + 1}"] = made

        return keep

    hooks = [blocks[0].register_forward_pre_hook(before)]
    hooks += [block.register_forward_hook(behind(index)) for index, block in enumerate(blocks)]
    found = run()
    for hook in hooks:
        hook.remove()
    return found, states


def velocity(net, z, t, y, scale):
    def of(labels):
        return (net(z, t.expand(len(z)), labels) - z) / (1 - t).clamp_min(LEAST)
    with_class, without = of(y), of(torch.full_like(y, CLASSES))
    return without + (scale if 0.1 < t < 1 else 1.0) * (with_class - without)


def drawn(net, z, y, steps, scale):
    times = torch.linspace(0, 1, steps + 1)
    for t, after in zip(times[:-2], times[1:-1]):
        v = velocity(net, z, t, y, scale)
        ahead = z + (after - t) * v
        z = z + (after - t) * (v + velocity(net, ahead, after, y, scale)) / 2
    return z + (times[-1] - times[-2]) * velocity(net, z, times[-2], y, scale)


def main():
    torch.manual_seed(3)
    torch.set_num_threads(1)
    net = Jit()
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if name != "pos_embed":
                weight.add_(0.1 * torch.randn_like(weight))
    y, t = torch.tensor([2, 5]), torch.tensor([0.3, 0.85])
    images = lambda: torch.randn(2, 3, SIDE, SIDE)  # noqa: E731
    tensors = {"noisy": images(), "time": t, "class": y, "start": images(), "clean": images().clamp(-1, 1), "noise": images()}
    with torch.no_grad():
        tensors["output"], states = with_states(net.blocks, lambda: net(tensors["noisy"], t, y))
        tensors["drawn"] = drawn(net, tensors["start"], torch.tensor([2, 0]), 10, 3.0)
    tensors |= states
    tensors |= {f"weights.{name}": value.clone() for name, value in net.state_dict().items()}
    level = t[:, None, None, None]
    z = level * tensors["clean"] + (1 - level) * tensors["noise"]
    least = (1 - level).clamp_min(LEAST)
    loss = (((tensors["clean"] - net(z, t, y)) / least) ** 2).mean()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    loss.backward()
    tensors["loss"] = loss.reshape(1)
    tensors |= {f"grads.{name}": weight.grad.clone() for name, weight in net.named_parameters() if weight.grad is not None}
    optimizer.step()
    tensors |= {f"updated.{name}": weight for name, weight in net.named_parameters() if name.startswith("blocks.0.attn")}
    tensors = {name: value.detach().contiguous() for name, value in tensors.items()}
    save_file(tensors, GOLDEN / "jit_tiny.safetensors", metadata={"context_start": str(START)})


if __name__ == "__main__":
    main()
