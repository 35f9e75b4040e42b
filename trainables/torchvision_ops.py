"""Makes torchvision importable next to a CPU-only torch.

diffusers and torch-fidelity import torchvision. Its wheel is built against CUDA torch, so with a CPU build of torch its
C++ operators do not load and `import torchvision` dies with "operator torchvision::nms does not exist": it decorates
two operators that are not declared. Declaring their schemas is enough; nothing in this project calls them.
"""

import sys

import torch


def import_torchvision() -> torch.library.Library | None:
    """Imports torchvision, declaring its missing operators where it has to; the returned library must be kept alive."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    else:
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        schema = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(schema)  # type: ignore[no-untyped-call]
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    import torchvision  # noqa: F401

    return library
