"""A tiny U-ViT, trained for a few seconds, by a definition of our own: outputs, a drawing and gradients.

    pip install torch safetensors
    python tests/reference/uvit_golden.py        writes tests/golden/uvit_tiny.pth and uvit_tiny.safetensors

The network is written from the paper (Bao et al. 2022, arXiv:2209.12152, section 3 and appendix B); the names and shapes
of its weights are those of the published `.pth` files. The `.pth` holds the weights in 16-bit floats, with which
everything else is computed in 32 bits: `noisy`, `index`, `class`, `output`, and `hidden.K`, the tokens behind K blocks on
the way to it; `start`, `noise` and `drawn`, which is the
Euler-Maruyama method on the reverse process of Song et al. (2021, arXiv:2011.13456, eqs. 6 and 33) in as many steps as
`noise` has; `clean`, `eps`, `loss` and its gradients by weight below `grads.`, of the middle block and both ends. The
schedule has STEPS levels; index i is the time (i + 1) / STEPS, and the network is told 999 times the time.
"""

import math
import pathlib

import torch
from jit_golden import with_states
from safetensors.torch import save_file
from torch import nn

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
SIDE, PATCH, WIDTH, DEPTH, HEADS, INNER, CLASSES, STEPS = 8, 2, 128, 3, 2, 96, 5, 100


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)

    def forward(self, x):
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, joins=False):
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = nn.LayerNorm(WIDTH), Attention(), nn.LayerNorm(WIDTH), Mlp()
        if joins:
            self.skip_linear = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x, mirror=None):
        if mirror is not None:
            x = self.skip_linear(torch.cat([x, mirror], dim=-1))
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, PATCH, PATCH)


class Uvit(nn.Module):
    def __init__(self):
        super().__init__()
        half, tokens = DEPTH // 2, 2 + (SIDE // PATCH) ** 2
        self.patch_embed, self.label_emb = PatchEmbed(), nn.Embedding(CLASSES, WIDTH)
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, WIDTH))
        self.in_blocks = nn.ModuleList(Block() for _ in range(half))
        self.mid_block = Block()
        self.out_blocks = nn.ModuleList(Block(joins=True) for _ in range(half))
        self.norm, self.decoder_pred = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, PATCH * PATCH * 3)
        self.final_layer = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, z, told, y):
        angle = told[:, None] * torch.exp(-math.log(10_000) * torch.arange(WIDTH // 2) / (WIDTH // 2))
        time = torch.cat([angle.cos(), angle.sin()], dim=1)
        patches = self.patch_embed.proj(z).flatten(2).transpose(1, 2)
        x = torch.cat([self.label_emb(y)[:, None], time[:, None], patches], dim=1) + self.pos_embed
        kept = []
        for block in self.in_blocks:
            x = block(x)
            kept.append(x)
        x = self.mid_block(x)
        for block in self.out_blocks:
            x = block(x, kept.pop())
        x = self.decoder_pred(self.norm(x))[:, 2:]
        side = SIDE // PATCH
        x = x.reshape(-1, side, side, PATCH, PATCH, 3).permute(0, 5, 1, 3, 2, 4)
        return self.final_layer(x.reshape(-1, 3, SIDE, SIDE))


def signal_squared(t):
    return math.exp(-(0.1 * t + 0.5 * 19.9 * t * t))


def of_time(net, z, t, y):
    return net(z, torch.full((len(z),), 999 * t), y)


def euler_maruyama(net, z, y, noise):
    """dz = (f z - g^2 score) dt + g dw backwards, with f = -beta/2, g^2 = beta and score = -eps / sqrt(1 - signal^2)."""
    steps = len(noise)
    for i in range(steps, 0, -1):
        t, dt = i / steps, 1 / steps
        beta = 0.1 + 19.9 * t
        score = -of_time(net, z, t, y) / math.sqrt(1 - signal_squared(t))
        z = z + (0.5 * beta * z + beta * score) * dt
        if i > 1:
            z = z + math.sqrt(beta * dt) * noise[steps - i]
    return z


def trained(net):
    """Learns slopes of two colors a class, so that a drawing is an image: random weights would blow noise up."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(400):
        y, t = torch.randint(CLASSES, (32,)), torch.rand(32).clamp_min(1 / STEPS)
        slope = torch.linspace(-1, 1, SIDE) * (y[:, None] - 2) / 2
        clean = (slope[:, None, None, :] * torch.tensor([1.0, -1.0, 0.5])[None, :, None, None]).expand(-1, -1, SIDE, -1)
        signal = torch.tensor([signal_squared(time.item()) ** 0.5 for time in t])[:, None, None, None]
        eps = torch.randn_like(clean)
        loss = ((net(signal * clean + (1 - signal**2).sqrt() * eps, 999 * t, y) - eps) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"loss {loss.item():.3f}")
    net.zero_grad()


def main():
    torch.manual_seed(4)
    torch.set_num_threads(1)
    net = Uvit()
    trained(net)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(weight.half().float())
    torch.save({name: value.half() for name, value in net.state_dict().items()}, GOLDEN / "uvit_tiny.pth")
    index, y = torch.tensor([30.0, 80.0]), torch.tensor([4, 0])
    images = lambda count=2: torch.randn(count, 3, SIDE, SIDE)  # noqa: E731
    tensors = {"noisy": images(), "index": index, "class": y, "clean": images().clamp(-1, 1), "eps": images()}
    noise = torch.randn(STEPS, 3, SIDE, SIDE).half()
    tensors |= {"start": images(1), "noise": noise}
    with torch.no_grad():
        blocks = [*net.in_blocks, net.mid_block, *net.out_blocks]
        run = lambda: net(tensors["noisy"], 999 * (index + 1) / STEPS, y)  # noqa: E731
        tensors["output"], states = with_states(blocks, run)
        tensors["drawn"] = euler_maruyama(net, tensors["start"], y[:1], noise.float())
    tensors |= states
    signal = torch.tensor([signal_squared((i.item() + 1) / STEPS) ** 0.5 for i in index])[:, None, None, None]
    z = signal * tensors["clean"] + (1 - signal**2).sqrt() * tensors["eps"]
    loss = ((tensors["eps"] - net(z, 999 * (index + 1) / STEPS, y)) ** 2).mean()
    loss.backward()
    tensors["loss"] = loss.reshape(1)
    some = ("mid_block", "patch_embed", "label_emb", "pos_embed", "final_layer", "decoder_pred", "out_blocks.0.norm")
    tensors |= {f"grads.{name}": weight.grad for name, weight in net.named_parameters() if name.startswith(some)}
    tensors = {name: value.detach().contiguous() for name, value in tensors.items()}
    save_file(tensors, GOLDEN / "uvit_tiny.safetensors", metadata={"steps": str(STEPS)})


if __name__ == "__main__":
    main()
