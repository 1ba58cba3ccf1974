"""Compares a folder that `mm export hf` wrote with what mm computed: `hf_model.py DIR`.

DIR holds the exported files, `image.png` and `expected.safetensors`. Needs torch, transformers, safetensors, pillow.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

CAPTION = "red K [IMG]"  # the name of a special token in a text is text


def main(folder: Path):
    torch.set_num_threads(1)
    model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    expected = load_file(folder / "expected.safetensors")
    image = torch.from_numpy(np.array(Image.open(folder / "image.png").convert("RGB")))
    documents, failed = model.documents, False
    rows = cols = 2
    noise = expected["noise"]
    level = model.schedule.level(expected["timestep"].item())

    def compare(name: str, found: torch.Tensor, wanted: torch.Tensor, most: float):
        nonlocal failed
        apart = (found.detach().float().reshape(wanted.shape) - wanted).abs().max().item()
        size = max(wanted.abs().max().item(), 1.0)
        failed |= not apart <= most * size
        print(f"{name}: {apart:.1e} of {size:.3g} apart, at most {most:.0e} wanted")

    with torch.no_grad():
        row = documents.document(tokenizer, [image, CAPTION], end=False)
        compare("logits", model.token_out(model([row])[:, -1]), expected["logits"], 1e-5)
        opened = documents.opened([image, CAPTION], tokenizer, rows, cols)
        # A shorter row beside it is padded and changes nothing.
        both = [opened, documents.opened([], tokenizer, rows, cols)]
        clean = model.denoise(both, noise.repeat(2, 1, 1), rows, cols, level)[:1]
        compare("clean", clean, expected["clean"], 1e-5)
        drawn = model.draw(tokenizer, [CAPTION], noise=noise[0])
        compare("drawn", drawn, expected["drawn"], 1 / 255)
    row = documents.document(tokenizer, [CAPTION, image], targets=[False, True])
    losses = model.loss([documents.noised(row, 0, level.timestep, noise[0])], weight=lambda level: 2.5)
    for name, loss in losses.items():
        compare(name, loss, expected[name], 1e-5)
    sum(losses.values()).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    if without or set(losses) != {"text", "image"}:
        sys.exit(f"no gradient reaches {without}; losses: {set(losses)}")
    model.save_pretrained(folder / "again")
    tokenizer.save_pretrained(folder / "again")
    again = AutoModel.from_pretrained(folder / "again", trust_remote_code=True).state_dict()
    if any(not torch.equal(value, again[name]) for name, value in model.state_dict().items()):
        sys.exit("weights that were saved and loaded again differ")
    sys.exit("values differ" if failed else 0)


main(Path(sys.argv[1]))
