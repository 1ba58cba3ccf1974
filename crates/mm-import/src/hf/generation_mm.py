"""Documents as rows of tokens, noise levels, and generation: what stands around the network of `modeling_mm.py`."""

import copy
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

PAD, BEGIN, END, IMAGE, IMAGE_END, FIRST_ROWS, FIRST_COLS, SPECIAL = 0, 1, 2, 3, 4, 5, 69, 133


@dataclass
class Document:
    """One row: ids, positions [row, col], the range of keys of each token, images, and what is learned."""

    ids: list[int] = field(default_factory=list)
    positions: list[tuple[float, float]] = field(default_factory=list)
    ranges: list[tuple[int, int]] = field(default_factory=list)
    images: list[dict] = field(default_factory=list)  # start, rows, cols, patches [rows * cols, dim], timestep
    targets: list[tuple[int, int]] = field(default_factory=list)  # the token that predicts, and what
    last: float = -1.0  # the position of the last text token


@dataclass
class Level:
    """z = signal * clean + noise * eps; the network is told the timestep."""

    timestep: float
    signal: float
    noise: float


class Schedule:
    """Noise levels: `linear` (flow matching), `cosine` (arXiv:2102.09672) or `su2024` (kexue.fm/archives/9984)."""

    def __init__(self, schedule: dict):
        self.kind, self.steps = schedule["kind"], schedule.get("steps")
        self.clean_timestep = 1.0 if self.kind == "linear" else 0.0

    def level(self, timestep: float) -> Level:
        if self.kind == "linear":
            return Level(timestep, timestep, 1 - timestep)
        steps, count = self.steps, round(timestep) + 1
        f = lambda t: math.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2
        factor = lambda t: 1 - 0.02 * t / steps if self.kind == "su2024" else 1 - min(1 - f(t) / f(t - 1), 0.999)
        signal = math.prod(factor(t) for t in range(1, count + 1))
        return Level(round(timestep), math.sqrt(signal), math.sqrt(1 - signal))

    def sampling_levels(self, count: int) -> list[Level]:
        """The levels of `count` steps, noisiest first."""
        if self.kind == "linear":
            return [self.level(index / count) for index in range(count)]
        return [self.level(index * self.steps // count) for index in reversed(range(count))]


class Documents:
    """Makes rows of texts and images for a network of these sizes."""

    def __init__(self, network: dict):
        self.patch, self.scheme = network["patch"], network["backbone"]["positions"]
        self.has_text, self.schedule = network["vocab"] > 0, Schedule(network["schedule"])

    def push_token(self, row: Document, token: int, target: bool = False):
        if target and row.ids:
            row.targets.append((len(row.ids) - 1, token))
        row.last += 1
        row.positions.append((row.last, row.last))
        row.ranges.append((0, len(row.ids) + 1))
        row.ids.append(token)

    def push_image(self, row: Document, patches: Tensor, rows: int, cols: int, timestep: float):
        """Adds patches [rows * cols, dim], as noisy as `timestep` says, which see each other."""
        at, last, area = len(row.ids), row.last, rows * cols
        start, step, length = {  # RoPE-TV (kexue.fm/archives/10352), RoPE-Tie (10040), the plain grid
            "rope-tv": (((area - rows) / 2, (area - cols) / 2), (1, 1), area),
            "rope-tie": ((0, 0), ((area + 1) / (rows + 1), (area + 1) / (cols + 1)), area),
            "halves": ((0, 0), (1, 1), max(rows, cols)),
        }[self.scheme]
        row.images.append({"start": at, "rows": rows, "cols": cols, "patches": patches, "timestep": timestep})
        row.ids += [PAD] * area
        row.ranges += [(0, at + area)] * area
        row.positions += [
            (last + start[0] + step[0] * (i + 1), last + start[1] + step[1] * (j + 1))
            for i in range(rows)
            for j in range(cols)
        ]
        row.last += length

    def push_opening(self, row: Document, rows: int, cols: int, target: bool = False):
        if self.has_text:
            for token in (FIRST_ROWS + rows - 1, FIRST_COLS + cols - 1, IMAGE):
                self.push_token(row, token, target)

    def document(self, tokenizer, segments: list, targets: list[bool] | None = None, end: bool = True) -> Document:
        """A row of texts (str) and images ([height, width, 3] bytes); `targets` says which are learned.

        Images that are learned must be noised by `noised` before the loss is computed."""
        row, targets = Document(), targets or [False] * len(segments)
        if self.has_text:
            self.push_token(row, BEGIN)
        for segment, target in zip(segments, targets, strict=True):
            if isinstance(segment, str):
                # What looks like a special token in a text is text.
                for token in tokenizer.encode(segment, add_special_tokens=False, split_special_tokens=True):
                    self.push_token(row, token, target)
                continue
            patches, rows, cols = self.patchify(torch.as_tensor(segment).float() / 127.5 - 1)
            self.push_opening(row, rows, cols, target)
            self.push_image(row, patches, rows, cols, self.schedule.clean_timestep)
            if self.has_text:
                self.push_token(row, IMAGE_END)
        if end and self.has_text:
            self.push_token(row, END, targets[-1] if targets else True)
        return row

    def opened(self, segments: list, tokenizer, rows: int, cols: int) -> Document:
        """A row behind which an image comes next."""
        if not self.has_text:
            return Document()
        row = self.document(tokenizer, segments, end=False)
        self.push_opening(row, rows, cols)
        return row

    def with_image(self, row: Document, patches: Tensor, rows: int, cols: int, timestep: float) -> Document:
        """A copy of a row with an image behind it."""
        longer = Document(*(copy.copy(getattr(row, name)) for name in row.__dataclass_fields__))
        self.push_image(longer, patches, rows, cols, timestep)
        return longer

    def noised(self, row: Document, index: int, timestep: float, eps: Tensor) -> Document:
        """Makes image `index` of a row a target, noised to the level of `timestep` with eps [rows * cols, dim]."""
        image, level = row.images[index], self.schedule.level(timestep)
        clean = image["patches"]
        noisy = level.signal * clean + level.noise * eps
        image |= {"patches": noisy, "timestep": timestep, "clean": clean, "eps": eps, "level": level}
        return row

    def patchify(self, pixels: Tensor) -> tuple[Tensor, int, int]:
        """[height, width, 3] -> [rows * cols, patch * patch * 3] in reading order, rows, cols."""
        rows, cols = pixels.shape[0] // self.patch, pixels.shape[1] // self.patch
        cut = pixels.reshape(rows, self.patch, cols, self.patch, 3).transpose(1, 2)
        return cut.reshape(rows * cols, -1), rows, cols

    def unpatchify(self, patches: Tensor, rows: int, cols: int) -> Tensor:
        """[rows * cols, patch * patch * 3] -> [height, width, 3]."""
        cut = patches.reshape(rows, cols, self.patch, self.patch, 3).transpose(1, 2)
        return cut.reshape(rows * self.patch, cols * self.patch, 3)


class Generation:
    """How a network with `denoise` draws and reads."""

    @torch.no_grad()
    def sample(self, documents: list[Document], z: Tensor, rows: int, cols: int, steps=None, scale=None) -> Tensor:
        """Noise z [batch, rows * cols, dim] -> clean patches, by Euler's method (DDIM) with guidance."""
        settings = self.config.generation.get("guidance", {"scale": 1.0, "from": 0.0, "to": 1.0})
        scale = settings["scale"] if scale is None else scale
        levels = self.schedule.sampling_levels(steps or self.config.generation.get("steps", 10))
        nothing = [self.documents.opened([], None, rows, cols) for _ in documents]
        for level, after in zip(levels, [*levels[1:], Level(self.schedule.clean_timestep, 1.0, 0.0)]):
            clean = self.denoise(documents, z, rows, cols, level)
            inside = settings["from"] <= level.signal / (level.signal + level.noise) <= settings["to"]
            if scale != 1.0 and inside and self.token_embed is not None:
                free = self.denoise(nothing, z, rows, cols, level)
                clean = free + (clean - free) * scale
            eps = (z - clean * level.signal) / level.noise
            z = clean * after.signal + eps * after.noise
        return z

    def draw(self, tokenizer, segments: list, seed=0, noise: Tensor | None = None, steps=None, scale=None) -> Tensor:
        """An image behind texts and images, [height, width, 3] bytes."""
        patch, size = self.config.network["patch"], self.config.generation
        rows, cols = size["height"] // patch, size["width"] // patch
        if noise is None:
            noise = torch.randn(rows * cols, self.dim, generator=torch.Generator().manual_seed(seed))
        row = self.documents.opened(segments, tokenizer, rows, cols)
        clean = self.sample([row], noise[None].to(self.device), rows, cols, steps, scale)[0]
        pixels = self.documents.unpatchify(clean, rows, cols).clamp(-1, 1)
        return ((pixels + 1) * 127.5).round().to(torch.uint8).cpu()

    @torch.no_grad()
    def read(self, tokenizer, segments: list, max_tokens=64) -> str:
        """The likeliest text behind texts and images."""
        row, written = self.documents.document(tokenizer, segments, end=False), []
        for _ in range(max_tokens):
            logits = self.token_out(self([row])[0, -1])
            logits[[token for token in range(SPECIAL) if token != END]] = -math.inf
            token = int(logits.argmax())
            if token == END:
                break
            written.append(token)
            self.documents.push_token(row, token)
        return tokenizer.decode(written)
