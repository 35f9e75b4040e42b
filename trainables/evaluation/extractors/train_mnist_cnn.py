"""Makes the weights of `mnist-cnn-v1`: python -m trainables.evaluation.extractors.train_mnist_cnn [OUT.safetensors]

Trains the network on 80% of the digits of `data=mnist`, reports its accuracy on the other 20%, writes the weights and
prints their sha256 for `mnist_cnn.VERSION`. As with the digits, the shipped file is the definition of the extractor.
"""

import sys
from pathlib import Path

from trainables.data.dataset import CLASSES
from trainables.data.mnist import Mnist
from trainables.evaluation.extractors.mnist_cnn import MnistNetwork
from trainables.evaluation.extractors.shipped_recipe import Split, make_weights, split

NUM_EPOCHS = 20


def mnist() -> Split:
    data = Mnist().load()
    return split(data.images.float() / 255, data.conditions[CLASSES])


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "mnist_cnn_v1.safetensors")
    make_weights(MnistNetwork(), mnist(), NUM_EPOCHS, out)
