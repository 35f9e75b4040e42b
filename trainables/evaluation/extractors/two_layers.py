"""What torch-fidelity asks of an extractor with 64 features and logits."""

from torch_fidelity.feature_extractor_base import FeatureExtractorBase


class TwoLayers(FeatureExtractorBase):  # type: ignore[misc]
    """An extractor of the layers `64`, for distances, and `logits`, for the Inception Score."""

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("64", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return {"isc": "logits", "fid": "64", "kid": "64", "prc": "64"}[metric]

    @staticmethod
    def can_be_compiled() -> bool:
        return False
