"""Train the extractor 'small' on the classes of CIFAR-10: a few minutes on one core.

    python benchmarks/train_small_extractor.py --data ../shared/data/cifar10.zip

Writes ganzoo/evaluation/small.safetensors. The last tenth of the images is held out; its accuracy is printed and kept
in the file's metadata. Adam with one cycle of the learning rate, crops and mirror images as augmentation.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ganzoo.data import open_dataset
from ganzoo.evaluation.small import FORMAT, WEIGHTS, SmallNetwork, to_network_input
from ganzoo.weights import save_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="labelled images of 32 x 32")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    dataset = open_dataset(args.data)
    order = np.random.RandomState(args.seed).permutation(len(dataset))
    images = torch.from_numpy(np.stack([dataset.image(int(i)) for i in order])).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(np.asarray(dataset.labels)[order])
    held_out = len(images) // 10
    network = SmallNetwork(num_classes=int(labels.max()) + 1).to(memory_format=torch.channels_last)
    started = time.monotonic()
    train(network, images[:-held_out], labels[:-held_out], epochs=args.epochs)
    accuracy = measure(network, images[-held_out:], labels[-held_out:])
    print(f"held-out accuracy {accuracy:.1%} after {time.monotonic() - started:.0f} s")
    metadata = {"format": FORMAT, "data": dataset.fingerprint, "accuracy": f"{accuracy:.4f}", "seed": str(args.seed)}
    save_weights(args.out, network.state_dict(), metadata)
    print(f"wrote {args.out}")


def train(network: SmallNetwork, images: torch.Tensor, labels: torch.Tensor, *, epochs: int, batch: int = 128) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    steps = epochs * (len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    network.train()
    for epoch in range(epochs):
        order = torch.randperm(len(images))
        for chosen in order[: len(order) // batch * batch].split(batch):
            x = augment(to_network_input(images[chosen])).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(network(x)[1], labels[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}", flush=True)


def augment(x: torch.Tensor, margin: int = 3) -> torch.Tensor:
    """One crop for the batch, and every other image mirrored."""
    size = x.shape[-1]
    top, left = torch.randint(0, 2 * margin + 1, (2,)).tolist()
    x = F.pad(x, [margin] * 4, mode="reflect")[..., top : top + size, left : left + size]
    mirrored = torch.rand(len(x), 1, 1, 1) < 0.5
    return torch.where(mirrored, x.flip(3), x)


@torch.no_grad()
def measure(network: SmallNetwork, images: torch.Tensor, labels: torch.Tensor) -> float:
    network.eval()
    guesses = [network(to_network_input(chunk))[1].argmax(1) for chunk in images.split(500)]
    return (torch.cat(guesses) == labels).float().mean().item()


if __name__ == "__main__":
    main()
