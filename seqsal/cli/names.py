"""Names and defaults that help texts show, apart so that help does not import torch; a test compares the originals."""

__all__ = ["METHOD_NAMES", "TRAIN_DEFAULTS"]

METHOD_NAMES = (
    "gradient_x_input",
    "saliency",
    "smoothgrad",
    "integrated_gradients",
    "expected_gradients",
    "deeplift_shap",
    "ism",
    "cam",
    "grad_cam",
)
TRAIN_DEFAULTS = {
    "n_filters": 64,
    "n_blocks": 4,
    "epochs": 12,
    "patience": 6,
    "learning_rate": 2e-3,
    "negatives_per_positive": 4,
}
