"""A tiny DiT of diffusers, trained for a few seconds: outputs, an image of its pipeline, and gradients.

    pip install torch diffusers safetensors
    python tests/reference/dit_golden.py        writes tests/golden/dit_tiny.safetensors

The file holds the weights of `DiTTransformer2DModel` below `transformer.` and of `AutoencoderKL` below `vae.`; `noisy`,
`timestep`, `class`, `output` (of the network, with its second half of channels, the learned variance) and `hidden.K`
(the tokens behind K blocks on the way to it); `start` and
`image` (of `DiTPipeline` with guidance 4 in 10 steps of `DDIMScheduler`; from 0 to 1) for the classes 207 and 1; `clean`,
`eps`, `loss` (the mean square of the error of the noise) and its gradients below `grads.`. The metadata hold the
configurations.
"""

import json
import pathlib
import tempfile

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from jit_golden import with_states
from safetensors.torch import save_file

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


def trained(net, scheduler):
    """Learns latents that are nearly constant, so that guidance and 10 steps end near an image."""
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    signals = scheduler.alphas_cumprod
    for _ in range(200):
        t, y = torch.randint(1000, (16,)), torch.randint(1001, (16,))
        clean = (torch.linspace(-1, 1, 4)[None, :, None, None] + 0.2 * torch.randn(16, 1, 1, 1)).expand(-1, -1, 8, 8)
        eps = torch.randn(16, 4, 8, 8)
        signal = signals[t][:, None, None, None]
        z = signal.sqrt() * clean + (1 - signal).sqrt() * eps
        loss = ((net(z, timestep=t, class_labels=y).sample[:, :4] - eps) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"loss {loss.item():.3f}")
    net.zero_grad()


def main():
    torch.manual_seed(5)
    torch.set_num_threads(1)
    net = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, sample_size=8,
        patch_size=2, num_embeds_ada_norm=1000, norm_elementwise_affine=False, norm_eps=1e-5)
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 12], layers_per_block=1, norm_num_groups=4, sample_size=16, latent_channels=4,
        scaling_factor=0.7)
    scheduler = DDIMScheduler(clip_sample=False)
    net.train(False)
    trained(net, scheduler)
    tensors = {"noisy": torch.randn(2, 4, 8, 8), "timestep": torch.tensor([999, 40]), "class": torch.tensor([207, 1000])}
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
        run = lambda: net(tensors["noisy"], timestep=tensors["timestep"], class_labels=tensors["class"]).sample  # noqa: E731
        tensors["output"], states = with_states(net.transformer_blocks, run)
    tensors |= states
    pipeline = DiTPipeline(transformer=net, vae=vae.eval(), scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    tensors["start"] = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(6))
    tensors["image"] = pipeline(
        class_labels=[207, 1], guidance_scale=4.0, num_inference_steps=10, output_type="pt",
        generator=torch.Generator().manual_seed(6)).images
    print(f"image: {tensors['image'].mean():.2f} bright, {tensors['image'].std():.2f} wide")
    with tempfile.TemporaryDirectory() as folder:
        pipeline.save_pretrained(folder)
        folder = pathlib.Path(folder)
        configs = {name.replace("/", "."): (folder / name).read_text() for name in (
            "model_index.json", "transformer/config.json", "vae/config.json", "scheduler/scheduler_config.json")}
    tensors |= {"clean": torch.randn(2, 4, 8, 8), "eps": torch.randn(2, 4, 8, 8)}
    signal = scheduler.alphas_cumprod[tensors["timestep"]][:, None, None, None]
    z = signal.sqrt() * tensors["clean"] + (1 - signal).sqrt() * tensors["eps"]
    found = net(z, timestep=tensors["timestep"], class_labels=tensors["class"]).sample[:, :4]
    loss = ((found - tensors["eps"]) ** 2).mean()
    loss.backward()
    tensors["loss"] = loss.reshape(1)
    tensors |= {f"transformer.{name}": value for name, value in net.state_dict().items()}
    tensors |= {f"vae.{name}": value for name, value in vae.state_dict().items()}
    tensors |= {f"grads.{name}": weight.grad for name, weight in net.named_parameters()
                if weight.grad is not None and "embedding_table" not in name}
    tensors = {name: value.detach().contiguous() for name, value in tensors.items()}
    save_file(tensors, GOLDEN / "dit_tiny.safetensors", metadata={"configs": json.dumps(configs)})


if __name__ == "__main__":
    main()
