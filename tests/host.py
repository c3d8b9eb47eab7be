"""The smallest network that modules are inserted into."""

from torch import nn


class Host(nn.Module):
    """One convolution and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 3)
        self.feature_info = [{"module": "conv", "num_chs": 4, "reduction": 1}]

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))
