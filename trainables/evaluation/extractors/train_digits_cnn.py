"""Makes the weights of `digits-cnn-v1`: python -m trainables.evaluation.extractors.train_digits_cnn [OUT.safetensors]

Trains the network on 80% of scikit-learn's digits, reports its accuracy on the other 20%, writes the weights and prints
their sha256 for `digits_cnn.VERSION`. The seeds are fixed, but another CPU or torch may end in other last bits: the
shipped file is the definition of the extractor, this script is how it came about.
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits

from trainables.evaluation.extractors.digits_cnn import DigitsNetwork
from trainables.evaluation.extractors.shipped_recipe import Split, make_weights, split

NUM_EPOCHS = 60


def digits() -> Split:
    """The images with their 17 grey levels k/16 rounded to bytes."""
    images, labels = load_digits(return_X_y=True)
    x_N1HW = torch.as_tensor(images).reshape(-1, 1, 8, 8).div(16).mul(255).round().div(255).float()
    return split(x_N1HW, torch.as_tensor(labels))


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "digits_cnn_v1.safetensors")
    make_weights(DigitsNetwork(), digits(), NUM_EPOCHS, out)
