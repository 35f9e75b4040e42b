"""The smallest model that can be saved and loaded."""

from trainables.specs import ModelSpec

SMALLEST = ModelSpec(
    name="tiny",
    model_class="UNet2DModel",
    config={
        "block_out_channels": [2],
        "down_block_types": ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"],
        "layers_per_block": 1,
        "norm_num_groups": 2,
        "add_attention": False,
    },
)
