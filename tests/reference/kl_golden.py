"""The KL autoencoder of diffusers with random weights: outputs, and gradients by PyTorch.

    pip install torch diffusers safetensors
    python tests/reference/kl_golden.py        writes tests/golden/kl_tiny.safetensors and kl_tiny_plain.safetensors

Each file holds the weights under diffusers' names below `weights.`, images, noise, `mean`, `logvar`, `decoded` (of
`mean`), `loss` and the gradients of `loss` below `grads.`; its metadata hold `config`, the text of `config.json`.

    loss = mean((decode(mean + exp(logvar / 2) noise) - images)^2) + 0.01 mean over images of KL
"""

import pathlib

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


def write(name, **options):
    torch.manual_seed(1)
    net = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 12], layers_per_block=1, norm_num_groups=4, sample_size=8, **options)
    with torch.no_grad():
        for param in net.parameters():
            param.add_(0.05 * torch.randn_like(param))
    images = torch.rand(2, 3, 8, 12) * 2 - 1
    noise = torch.randn(2, net.config.latent_channels, 4, 6)
    posterior = net.encode(images).latent_dist
    drawn = net.decode(posterior.mean + posterior.std * noise).sample
    loss = ((drawn - images) ** 2).mean() + 0.01 * posterior.kl().mean()
    loss.backward()
    tensors = {"images": images, "noise": noise, "mean": posterior.mean, "logvar": posterior.logvar,
               "kl": posterior.kl(), "decoded": net.decode(posterior.mean).sample, "loss": loss.reshape(1)}
    tensors |= {f"weights.{key}": value for key, value in net.state_dict().items()}
    tensors |= {f"grads.{key}": value.grad for key, value in net.named_parameters()}
    tensors = {key: value.detach().contiguous() for key, value in tensors.items()}
    save_file(tensors, GOLDEN / name, metadata={"config": net.to_json_string()})


if __name__ == "__main__":
    write("kl_tiny.safetensors", latent_channels=2)
    write("kl_tiny_plain.safetensors", latent_channels=3, use_quant_conv=False, use_post_quant_conv=False,
          mid_block_add_attention=False, scaling_factor=0.5, shift_factor=0.25)
