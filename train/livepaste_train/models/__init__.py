"""Architectures by name: one file and one line each."""

MODELS = {
    "light": "livepaste_train.models.light:LightAutoencoder",
}
