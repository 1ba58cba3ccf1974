"""One transformer for text and raw pixels, in PyTorch: it reads, draws and trains.

    model = AutoModel.from_pretrained(DIR, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(DIR, trust_remote_code=True)
    image = model.draw(tokenizer, ["red K on yellow"], seed=0)      # [height, width, 3], bytes
    caption = model.read(tokenizer, [image])
    row = model.documents.document(tokenizer, [image, "red K on yellow"], targets=[False, True])
    model.loss([row])["text"].backward()

A document is a list of texts and images. Text tokens see what stands before them; all patches of an image
see each other and what stands before the image. `[rows, cols]` positions turn queries and keys on two axes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from .generation_mm import Document, Documents, Generation, Level, Schedule


class MmConfig(PretrainedConfig):
    model_type = "mm"

    def __init__(self, network: dict | None = None, generation: dict | None = None, **kwargs):
        self.network = network or {}  # the sizes, see `config.json`
        self.generation = generation or {}  # size of an image, sampler, steps, guidance
        super().__init__(**kwargs)


class Linear(nn.Module):
    """x W + b with W [inputs, outputs]."""

    def __init__(self, inputs: int, outputs: int, bias: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) / math.sqrt(inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight if self.bias is None else x @ self.weight + self.bias


class RmsNorm(nn.Module):
    """x / sqrt(mean(x^2) + epsilon) gamma (arXiv:1910.07467)."""

    def __init__(self, channels: int, epsilon: float):
        super().__init__()
        self.gamma, self.epsilon = nn.Parameter(torch.ones(channels)), epsilon

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon) * self.gamma


class Modulation(nn.Module):
    """adaLN-Zero (arXiv:2212.09748): vectors for each token, from its condition [batch, tokens, width]."""

    def __init__(self, width: int, parts: int):
        super().__init__()
        self.proj, self.parts = Linear(width, parts * width, True), parts

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        return self.proj(F.silu(condition)).chunk(self.parts, -1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turns channel pairs (2p, 2p + 1) of [batch, heads, tokens, channels] by [batch, 1, tokens, channels / 2]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


class GatedAttentionUnit(nn.Module):
    """Gated attention (arXiv:2202.10447) with softmax: attention and feed-forward in one."""

    def __init__(self, sizes: dict, block: dict):
        super().__init__()
        width, key, bias = sizes["width"], block["key_size"], block["bias"]
        self.expanded, self.key_size = block["expansion"] * width, key
        self.norm = RmsNorm(width, sizes["norm_epsilon"])
        self.in_proj = Linear(width, 2 * self.expanded + key, bias)
        scale_offset = lambda: nn.ParameterDict(
            {"gamma": torch.ones(key)} | ({"beta": torch.zeros(key)} if bias else {})
        )
        self.query, self.key = scale_offset(), scale_offset()
        self.out_proj = Linear(self.expanded, width, bias)

    def forward(self, x: Tensor, angles: Tensor, mask: Tensor, condition: Tensor | None) -> Tensor:
        e = self.expanded
        u, v, z = F.silu(self.in_proj(self.norm(x))).split([e, e, self.key_size], -1)
        of = lambda w: rotate((z * w["gamma"] + (w["beta"] if "beta" in w else 0))[:, None], angles)
        mixed = F.scaled_dot_product_attention(of(self.query), of(self.key), v[:, None], attn_mask=mask)
        return x + self.out_proj(u * mixed[:, 0])


class MultiHeadBlock(nn.Module):
    """Pre-norm attention with normalized queries and keys, then SwiGLU (arXiv:2002.05202)."""

    def __init__(self, sizes: dict, block: dict):
        super().__init__()
        width, epsilon, hidden = sizes["width"], sizes["norm_epsilon"], block["feed_forward"]
        self.heads, self.key_heads = block["heads"], block["key_heads"]
        self.head = width // self.heads
        self.attention_norm, self.mlp_norm = RmsNorm(width, epsilon), RmsNorm(width, epsilon)
        self.query_norm, self.key_norm = RmsNorm(self.head, epsilon), RmsNorm(self.head, epsilon)
        self.qkv_proj = Linear(width, (self.heads + 2 * self.key_heads) * self.head, False)
        self.out_proj = Linear(width, width, False)
        self.gate_up_proj, self.down_proj = Linear(width, 2 * hidden, False), Linear(hidden, width, False)
        self.modulation = Modulation(width, 6) if block.get("variant") == "dit" else None

    def attend(self, x: Tensor, angles: Tensor, mask: Tensor) -> Tensor:
        heads = self.qkv_proj(x).unflatten(-1, (-1, self.head)).transpose(1, 2)
        q, k, v = heads.split([self.heads, self.key_heads, self.key_heads], 1)
        q, k = rotate(self.query_norm(q), angles), rotate(self.key_norm(k), angles)
        k, v = (t.repeat_interleave(self.heads // self.key_heads, 1) for t in (k, v))
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(-2))

    def feed(self, x: Tensor) -> Tensor:
        gate, rest = self.gate_up_proj(x).chunk(2, -1)
        return self.down_proj(F.silu(gate) * rest)

    def forward(self, x: Tensor, angles: Tensor, mask: Tensor, condition: Tensor | None) -> Tensor:
        if self.modulation is None:
            x = x + self.attend(self.attention_norm(x), angles, mask)
            return x + self.feed(self.mlp_norm(x))
        shift, scale, gate, shift_2, scale_2, gate_2 = self.modulation(condition)
        x = x + gate * self.attend(self.attention_norm(x) * (1 + scale) + shift, angles, mask)
        return x + gate_2 * self.feed(self.mlp_norm(x) * (1 + scale_2) + shift_2)


class Backbone(nn.Module):
    """Blocks one after another, U-ViT's long skips (arXiv:2209.12152) if asked for, then a norm."""

    def __init__(self, sizes: dict):
        super().__init__()
        self.sizes, block, depth = sizes, sizes["block"], sizes["depth"]
        kind = GatedAttentionUnit if block["kind"] == "gau" else MultiHeadBlock
        self.blocks = nn.ModuleList(kind(sizes, block) for _ in range(depth))
        self.half = depth // 2 if block.get("variant") == "uvit" else 0
        width = sizes["width"]
        self.skips = nn.ModuleList(nn.ModuleDict({"proj": Linear(2 * width, width, True)}) for _ in range(self.half))
        self.norm = RmsNorm(width, sizes["norm_epsilon"])
        dit = block.get("variant") == "dit"
        self.final_layer = nn.ModuleDict({"modulation": Modulation(width, 2)}) if dit else None

    def angles(self, positions: Tensor) -> Tensor:
        """The angles of [batch, tokens, 2] positions: [batch, 1, tokens, pairs], in 64 bits."""
        sizes, block = self.sizes, self.sizes["block"]
        pairs = (block["key_size"] if block["kind"] == "gau" else sizes["width"] // block["heads"]) // 2
        pair, halves = torch.arange(pairs, device=positions.device), sizes["positions"] == "halves"
        axis = pair // (pairs // 2) if halves else pair % 2
        exponent = pair % (pairs // 2) / (pairs // 2) if halves else pair / pairs
        theta = sizes["rotary_base"] ** -exponent.double()
        return (positions[..., axis] * theta)[:, None]

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor, condition: Tensor | None) -> Tensor:
        angles, kept = self.angles(positions), []
        for index, block in enumerate(self.blocks):
            if self.half and index > self.half:
                x = self.skips[index - self.half - 1]["proj"](torch.cat([x, kept.pop()], -1))
            x = block(x, angles, mask, condition)
            if index < self.half:
                kept.append(x)
        x = self.norm(x)
        if self.final_layer is not None:
            shift, scale = self.final_layer["modulation"](condition)
            x = x * (1 + scale) + shift
        return x


class TimeEmbedding(nn.Module):
    """Timesteps [images] -> [images, width]: a table, or two linear maps of sines and cosines."""

    def __init__(self, time: dict, width: int):
        super().__init__()
        self.time = time
        if time["kind"] == "table":
            self.table = nn.Parameter(torch.zeros(time["steps"], width))
        else:
            self.first, self.second = Linear(time["channels"], width, True), Linear(width, width, True)

    def forward(self, timesteps: Tensor) -> Tensor:
        if self.time["kind"] == "table":
            return self.table[timesteps.round().long().clamp(0, len(self.table) - 1)]
        half = self.time["channels"] // 2
        waves = timesteps[:, None] * self.time["scale"] * 10_000.0 ** -(torch.arange(half, device=timesteps.device) / half).double()
        return self.second(F.silu(self.first(torch.cat([waves.sin(), waves.cos()], -1).to(self.first.weight.dtype))))


class MmModel(PreTrainedModel, Generation):
    config_class = MmConfig

    def __init__(self, config: MmConfig):
        super().__init__(config)
        net = config.network
        sizes, vocab, patch = net["backbone"], net["vocab"], net["patch"]
        width, bias, table = sizes["width"], net["patch_bias"], net["patch_pos_embed"]
        self.dim = patch * patch * 3
        self.documents = Documents(net)
        self.schedule = Schedule(net["schedule"])
        self.token_embed = nn.Parameter(torch.randn(vocab, width)) if vocab else None
        self.token_out = Linear(width, vocab, False) if vocab else None
        self.patch_in, self.patch_out = Linear(self.dim, width, bias), Linear(width, self.dim, bias)
        self.patch_pos_embed = nn.ParameterList(torch.zeros(table, width) for _ in range(2)) if table else None
        self.time, self.backbone = TimeEmbedding(net["time"], width), Backbone(sizes)
        self.convolution = nn.Conv2d(3, 3, 3, padding=1) if net.get("patch_convolution") else None
        self.post_init()

    def _init_weights(self, module):  # weights are made in the constructors above
        pass

    def forward(self, documents: list[Document]) -> Tensor:
        """The last hidden states of rows that are padded on the right: [batch, tokens, width]."""
        rows, tokens, device = len(documents), max(len(row.ids) for row in documents), self.device
        ids = torch.zeros(rows, tokens, dtype=torch.long, device=device)
        positions = torch.zeros(rows, tokens, 2, dtype=torch.float64, device=device)
        keys = torch.arange(tokens, device=device)
        first, end = keys.repeat(rows, 1), (keys + 1).repeat(rows, 1)  # padding sees itself
        for index, row in enumerate(documents):
            count = len(row.ids)
            ids[index, :count] = torch.tensor(row.ids, device=device)
            positions[index, :count] = torch.tensor(row.positions, dtype=torch.float64, device=device)
            first[index, :count], end[index, :count] = torch.tensor(row.ranges, device=device).T
        mask = (keys >= first[..., None]) & (keys < end[..., None])  # may attend [batch, queries, keys]
        width = self.config.network["backbone"]["width"]
        x = self.token_embed[ids] if self.token_embed is not None else torch.zeros(rows, tokens, width, device=device)
        dit = self.backbone.final_layer is not None
        condition = torch.zeros(rows, tokens, width, dtype=x.dtype, device=device) if dit else None
        images = [(index, image) for index, row in enumerate(documents) for image in row.images]
        if images:
            x = x.clone()
            times = self.time(torch.tensor([image["timestep"] for _, image in images], dtype=torch.float64, device=device))
        for (index, image), time in zip(images, times if images else []):
            place = slice(image["start"], image["start"] + image["rows"] * image["cols"])
            pixels = self.patch_in(image["patches"].to(device, x.dtype))
            if condition is None:
                pixels = pixels + time
            else:
                condition[index, place] = time
            if self.patch_pos_embed is not None:
                at = torch.arange(image["rows"] * image["cols"], device=device)
                for table, i in zip(self.patch_pos_embed, (at // image["cols"], at % image["cols"])):
                    pixels = pixels + table[i.clamp(max=len(table) - 1)]
            x[index, place] = pixels
        return self.backbone(x, positions, mask[:, None], condition)

    def patches(self, hidden: Tensor, rows: int, cols: int) -> Tensor:
        """What the network says of one image, from hidden states: [rows * cols, width] -> [rows * cols, dim]."""
        output = self.patch_out(hidden)
        if self.convolution is not None:
            pixels = self.documents.unpatchify(output, rows, cols).permute(2, 0, 1)[None]
            output = self.documents.patchify(self.convolution(pixels)[0].permute(1, 2, 0))[0]
        return output

    def loss(self, documents: list[Document], weight=lambda level: 1.0) -> dict[str, Tensor]:
        """Means over what is learned: `text`, nats a token, and `image`, the weighted squared error of patches.

        Images that are learned were noised by `noised`."""
        hidden, losses = self(documents), {}
        at = [(index, *target) for index, row in enumerate(documents) for target in row.targets]
        if at:
            index, token, wanted = torch.tensor(at, device=self.device).T
            losses["text"] = F.cross_entropy(self.token_out(hidden[index, token]), wanted)
        errors = []
        for index, row in enumerate(documents):
            for image in row.images:
                if "eps" in image:
                    place = slice(image["start"], image["start"] + image["rows"] * image["cols"])
                    output = self.patches(hidden[index, place], image["rows"], image["cols"])
                    clean, eps = image["clean"].to(output), image["eps"].to(output)
                    wanted = {"clean": clean, "noise": eps, "velocity": clean - eps}[self.config.network["prediction"]]
                    errors.append((output - wanted).square().mean(-1) * weight(image["level"]))
        if errors:
            losses["image"] = torch.cat(errors).mean()
        return losses

    def denoise(self, documents: list[Document], noisy: Tensor, rows: int, cols: int, level: Level) -> Tensor:
        """The clean patches behind noisy ones, of one image a row that comes next: [batch, rows * cols, dim]."""
        longer = [self.documents.with_image(row, z, rows, cols, level.timestep) for row, z in zip(documents, noisy)]
        hidden = self(longer)
        starts = [len(row.ids) for row in documents]
        output = torch.stack([
            self.patches(hidden[index, start : start + rows * cols], rows, cols) for index, start in enumerate(starts)
        ])
        signal, noise = level.signal, level.noise
        if self.config.network["prediction"] == "noise":
            return (noisy - output * noise) / max(signal, 1e-4)
        return output if self.config.network["prediction"] == "clean" else (noisy + output * noise) / (signal + noise)
